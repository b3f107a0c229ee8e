import type { FunctionDefinition } from './change-triggers.ts';

/** Sequences roll nothing back, so what was once drawn never comes again; the row's lock puts all who draw in a line. */
export const EPOCH_FUNCTION: FunctionDefinition = {
  name: 'draw_epoch',
  parameters: 'above bigint',
  returns: 'bigint',
  isDefiner: false,
  body: `
      DECLARE floor_epoch bigint; drawn bigint;
      BEGIN
        SELECT greatest(above, epoch) INTO STRICT floor_epoch FROM scaler.adoption FOR UPDATE;
        drawn := nextval('scaler.epoch');
        IF drawn <= floor_epoch THEN
          PERFORM setval('scaler.epoch', floor_epoch);
          drawn := nextval('scaler.epoch');
        END IF;
        UPDATE scaler.adoption SET epoch = drawn;
        RETURN drawn;
      END `,
};
