{{- define "notifi.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end }}

{{- define "notifi.labels" -}}
app.kubernetes.io/name: notifi-scaler
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
app: {{ .component }}
{{- end }}

{{- define "notifi.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
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

{{- define "notifi.natsUrl" -}}
{{- if .Values.nats.enabled -}}
nats://{{ include "notifi.name" . }}-nats:4222
{{- else -}}
{{ required "nats.external.url is needed when nats.enabled is false" .Values.nats.external.url }}
{{- end -}}
{{- end }}

{{- define "notifi.natsSecret" -}}
{{- if .Values.nats.enabled -}}{{ include "notifi.name" . }}-nats{{- else -}}{{ .Values.nats.external.existingSecret }}{{- end -}}
{{- end }}

{{- define "notifi.postgresSecret" -}}
{{- if .Values.postgres.enabled -}}{{ include "notifi.name" . }}-postgres{{- else -}}{{ required "postgres.external.existingSecret is needed when postgres.enabled is false" .Values.postgres.external.existingSecret }}{{- end -}}
{{- end }}

{{- define "notifi.databaseUrl" -}}
{{- if .Values.postgres.enabled -}}
postgres://{{ include "notifi.name" . }}-postgres:5432/{{ .Values.postgres.database }}
{{- else -}}
{{ required "postgres.external.url is needed when postgres.enabled is false" .Values.postgres.external.url }}
{{- end -}}
{{- end }}

{{- /* What worker and coordinator share; the user of the database comes in by PGUSER and PGPASSWORD. */ -}}
{{- define "notifi.env" -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: NATS_URL
  value: {{ include "notifi.natsUrl" . | quote }}
{{- with include "notifi.natsSecret" . }}
- name: NATS_USER
  valueFrom: { secretKeyRef: { name: {{ . }}, key: user } }
- name: NATS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . }}, key: password } }
{{- end }}
- name: NATS_PREFIX
  value: {{ .Values.config.natsPrefix | quote }}
- name: DATABASE_URL
  value: {{ include "notifi.databaseUrl" . | quote }}
- name: PGUSER
  valueFrom: { secretKeyRef: { name: {{ include "notifi.postgresSecret" . }}, key: username } }
- name: PGPASSWORD
  valueFrom: { secretKeyRef: { name: {{ include "notifi.postgresSecret" . }}, key: password } }
- name: TABLE
  value: {{ .Values.config.table | quote }}
- name: ID_COLUMN
  value: {{ .Values.config.idColumn | quote }}
- name: VALUE_COLUMN
  value: {{ .Values.config.valueColumn | quote }}
- name: WORKER_COLUMN
  value: {{ .Values.config.workerColumn | quote }}
- name: LEASE_TTL_MS
  value: {{ .Values.config.leaseTtlMs | quote }}
- name: HEARTBEAT_MS
  value: {{ .Values.config.heartbeatMs | quote }}
- name: LOG_LEVEL
  value: {{ .Values.config.logLevel | quote }}
- name: HTTP_PORT
  value: "8080"
{{- end }}

{{- /* One of ours, worker or coordinator: probes, security, placement. */ -}}
{{- define "notifi.pod" -}}
{{- $settings := index .root.Values .component -}}
{{ include "notifi.podSecurity" . }}
terminationGracePeriodSeconds: 20
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $settings.priorityClassName }}
priorityClassName: {{ . }}
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
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "notifi.selector" $ | nindent 8 }}
  {{- end }}
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
