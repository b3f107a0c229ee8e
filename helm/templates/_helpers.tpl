{{- define "notifi.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "notifi.labels" -}}
app.kubernetes.io/name: notifi-scaler
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
app: {{ .component }}
{{- end }}

{{- define "notifi.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
app: {{ .component }}
{{- end }}

{{- /* No pod of ours talks to the Kubernetes API or needs a right. */ -}}
{{- define "notifi.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end }}

{{- define "notifi.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* Every server by name, where there are several: who has lost one knows the others. */ -}}
{{- define "notifi.natsUrl" -}}
{{- $name := printf "%s-nats" (include "notifi.name" .) -}}
{{- if not .Values.nats.enabled -}}
{{ required "nats.external.url is needed when nats.enabled is false" .Values.nats.external.url }}
{{- else if eq (int .Values.nats.replicas) 1 -}}
nats://{{ $name }}:4222
{{- else -}}
{{- range $index := until (int .Values.nats.replicas) }}{{ if $index }},{{ end }}nats://{{ $name }}-{{ $index }}.{{ $name }}-headless:4222{{ end -}}
{{- end -}}
{{- end }}

{{- define "notifi.natsSecret" -}}
{{ .Values.nats.existingSecret | default (printf "%s-nats" (include "notifi.name" .)) }}
{{- end }}

{{- define "notifi.postgresSecret" -}}
{{- if .Values.postgres.enabled -}}
{{ .Values.postgres.existingSecret | default (printf "%s-postgres" (include "notifi.name" .)) }}
{{- else -}}
{{ required "postgres.external.existingSecret is needed when postgres.enabled is false" .Values.postgres.external.existingSecret }}
{{- end -}}
{{- end }}

{{- define "notifi.databaseUrl" -}}
{{- if .Values.postgres.enabled -}}
postgres://{{ include "notifi.name" . }}-postgres:5432
{{- else -}}
{{ required "postgres.external.url is needed when postgres.enabled is false" .Values.postgres.external.url }}
{{- end -}}
{{- end }}

{{- /* Where NATS is, and as whom of its users to log in. */ -}}
{{- define "notifi.natsEnv" -}}
{{- $nats := .root.Values.nats -}}
- name: NATS_URL
  value: {{ include "notifi.natsUrl" .root | quote }}
{{- if $nats.enabled }}
- name: NATS_USER
  value: {{ .user }}
- name: NATS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "notifi.natsSecret" .root | quote }}, key: {{ .user }}Password } }
{{- else }}
{{- with index $nats.external (printf "%sSecret" .user) | default $nats.external.existingSecret }}
- name: NATS_USER
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: user } }
- name: NATS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: password } }
{{- end }}
{{- end }}
{{- end }}

{{- /* The login in NATS' system account, which tells coordinators whose connection is gone. */ -}}
{{- define "notifi.natsSystemEnv" -}}
{{- if .Values.nats.enabled -}}
- name: NATS_SYSTEM_URL
  value: {{ include "notifi.natsUrl" . | quote }}
- name: NATS_SYSTEM_USER
  value: system
- name: NATS_SYSTEM_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "notifi.natsSecret" . | quote }}, key: systemPassword } }
{{- else }}
{{- with .Values.nats.external.systemSecret -}}
- name: NATS_SYSTEM_URL
  value: {{ include "notifi.natsUrl" $ | quote }}
- name: NATS_SYSTEM_USER
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: user } }
- name: NATS_SYSTEM_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: password } }
{{- end }}
{{- end }}
{{- end }}

{{- /* What worker and coordinator share; the user of the database comes in by PGUSER and PGPASSWORD. */ -}}
{{- define "notifi.env" -}}
{{- $root := .root -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{ include "notifi.natsEnv" . }}
- name: NATS_PREFIX
  value: {{ $root.Values.config.natsPrefix | quote }}
{{- with include "notifi.natsReplicas" $root }}
- name: NATS_REPLICAS
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.config.natsStorageMib }}
- name: NATS_STORAGE_MIB
  value: {{ . | int64 | quote }}
{{- end }}
- name: DATABASE_URL
  value: {{ include "notifi.databaseUrl" $root | quote }}
{{- if $root.Values.postgres.enabled }}
# Not in the URL, where the client library does not decode every character. Kubernetes reads $$ as $.
- name: PGDATABASE
  value: {{ $root.Values.postgres.database | replace "$" "$$" | quote }}
{{- end }}
- name: PGUSER
  valueFrom: { secretKeyRef: { name: {{ include "notifi.postgresSecret" $root | quote }}, key: username } }
- name: PGPASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "notifi.postgresSecret" $root | quote }}, key: password } }
# A dollar is doubled in these, because the kubelet reads $( and $$ as signs of its own.
- name: TABLE
  value: {{ $root.Values.config.table | replace "$" "$$" | quote }}
- name: ID_COLUMN
  value: {{ $root.Values.config.idColumn | replace "$" "$$" | quote }}
- name: VALUE_COLUMN
  value: {{ $root.Values.config.valueColumn | replace "$" "$$" | quote }}
- name: WORKER_COLUMN
  value: {{ $root.Values.config.workerColumn | replace "$" "$$" | quote }}
- name: LEASE_TTL_MS
  value: {{ $root.Values.config.leaseTtlMs | int64 | quote }}
- name: HEARTBEAT_MS
  value: {{ $root.Values.config.heartbeatMs | int64 | quote }}
- name: LOG_LEVEL
  value: {{ $root.Values.config.logLevel | quote }}
- name: HTTP_PORT
  value: "8080"
{{- end }}

{{- /* How many servers keep each stream; nothing: an existing one keeps what it has. */ -}}
{{- define "notifi.natsReplicas" -}}
{{- if .Values.nats.enabled -}}{{ int .Values.nats.replicas }}
{{- else if .Values.nats.external.replicas -}}{{ int .Values.nats.external.replicas }}
{{- end -}}
{{- end }}

{{- /* Where a pod may run. */ -}}
{{- define "notifi.placement" -}}
{{- $settings := index .root.Values .component -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "notifi.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- /* The head of a pod's template, with what the values add to it. */ -}}
{{- define "notifi.podMetadata" -}}
{{- $settings := index .root.Values .component -}}
labels:
  {{- include "notifi.labels" . | nindent 2 }}
  {{- with $settings.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) ($settings.podAnnotations | default dict) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* One of ours, worker or coordinator: security, placement. */ -}}
{{- define "notifi.pod" -}}
{{ include "notifi.podSecurity" .root }}
# Ten seconds at most for a planned leave, then the connections are closed in order.
terminationGracePeriodSeconds: 20
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
{{- include "notifi.placement" . }}
{{- end }}

{{- define "notifi.probes" -}}
# Up to a minute to come up; a service that waits for its servers is alive, only not ready.
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 1
  timeoutSeconds: 2
{{- end }}

{{- define "notifi.egressDns" -}}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- end }}

{{- define "notifi.egressTo" -}}
- ports: [{ port: {{ .port }} }]
  to:
    {{- include "notifi.peers" (dict "root" .root "components" (list .component)) | nindent 4 }}
{{- end }}

{{- /* This release's pods of some components. */ -}}
{{- define "notifi.peers" -}}
- podSelector:
    matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name | quote }} }
    matchExpressions:
      - { key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .components }}] }
{{- end }}

{{- /*
A name in the quotes of SQL. The rule is the services' own, parseTableNames in shared/postgres/table.ts: A to Z in a plain name
become lower case, every other name is taken as it stands. test/chart/table-names.test.ts compares the two.
*/ -}}
{{- define "notifi.sqlName" -}}
{{- $name := . -}}
{{- if regexMatch `^[A-Za-z_\x{80}-\x{10ffff}][A-Za-z0-9_$\x{80}-\x{10ffff}]*$` $name -}}
{{- range splitList "" "ABCDEFGHIJKLMNOPQRSTUVWXYZ" }}{{ $name = replace . (lower .) $name }}{{ end -}}
{{- end -}}
{{- if hasPrefix `"` $name }}{{ $name }}{{ else }}"{{ $name }}"{{ end -}}
{{- end }}

{{- define "notifi.sqlSchema" -}}
{{- $parts := regexFindAll `"(?:[^"]|"")+"|[^".]+` .Values.config.table -1 -}}
{{- if eq (len $parts) 1 }}"public"{{ else }}{{ include "notifi.sqlName" (first $parts) }}{{ end -}}
{{- end }}

{{- define "notifi.sqlTable" -}}
{{- $parts := regexFindAll `"(?:[^"]|"")+"|[^".]+` .Values.config.table -1 -}}
{{ include "notifi.sqlSchema" . }}.{{ include "notifi.sqlName" (last $parts) }}
{{- end }}

{{- /* A word of a shell command line that people copy. */ -}}
{{- define "notifi.shellWord" -}}
{{- if regexMatch "^[A-Za-z0-9_.:/-]+$" . }}{{ . }}{{ else }}'{{ replace "'" "'\\''" . }}'{{ end -}}
{{- end }}
