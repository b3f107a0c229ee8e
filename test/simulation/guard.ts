/** A guard of DESIGN §5 or §6, and how the sources read without it. */
export interface Guard {
  readonly name: string;
  readonly rule: string;
  /** What the checks say where it is missed. */
  readonly harm: RegExp;
  /** A fault that each world suffers in addition to its random ones: the guard's own, if it is rare. */
  readonly fault?: string;
  readonly edits: readonly Edit[];
}

export interface Edit {
  readonly file: string;
  /** Stands there exactly once. */
  readonly from: string;
  readonly to: string;
}
