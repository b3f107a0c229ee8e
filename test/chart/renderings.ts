const EXTERNAL_NATS = [
  'nats.enabled=false',
  'nats.external.url=nats://elsewhere:4222',
  'nats.external.existingSecret=my-nats',
];
const EXTERNAL_POSTGRES = [
  'postgres.enabled=false',
  'postgres.external.url=postgres://elsewhere:5432/shop',
  'postgres.external.existingSecret=my-db',
];

/** Every toggle of the values, on and off, in some rendering. */
export const RENDERINGS: Readonly<Record<string, readonly string[]>> = {
  'no values': [],
  'external servers': [...EXTERNAL_NATS, ...EXTERNAL_POSTGRES],
  'external NATS without a login': ['nats.enabled=false', 'nats.external.url=nats://elsewhere:4222'],
  'external NATS with a secret for each role': [
    ...EXTERNAL_NATS,
    'nats.external.workerSecret=w',
    'nats.external.coordinatorSecret=c',
    'nats.external.observerSecret=o',
    'nats.external.systemSecret=s',
    'nats.external.replicas=3',
  ],
  'three NATS servers': ['nats.replicas=3'],
  'no volumes': ['nats.persistence.enabled=false', 'postgres.persistence.enabled=false'],
  'a storage class': ['nats.persistence.storageClass=fast', 'postgres.persistence.storageClass=fast'],
  'no extras': ['natsBox.enabled=false', 'podDisruptionBudget.enabled=false', 'networkPolicy.enabled=false'],
  KEDA: ['autoscaling.enabled=true', 'autoscaling.minReplicas=0'],
  'a HorizontalPodAutoscaler': ['autoscaling.enabled=true', 'autoscaling.kind=hpa'],
  'secrets of your own': ['nats.existingSecret=mine', 'postgres.existingSecret=theirs'],
  'a PodMonitor': ['podMonitor.enabled=true', 'podMonitor.labels.release=prometheus'],
  'placement and additions': [
    ...['worker', 'coordinator', 'nats', 'postgres'].flatMap((component) => [
      `${component}.priorityClassName=high`,
      `${component}.nodeSelector.disk=ssd`,
      `${component}.tolerations[0].operator=Exists`,
      `${component}.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1`,
      `${component}.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey=zone`,
      `${component}.podAnnotations.note=x`,
      `${component}.podLabels.team=y`,
    ]),
    'imagePullSecrets[0]=registry',
    'config.natsPrefix=blue',
  ],
};
