{{/* Names carry the release's, unless it already says trunkline. */}}
{{- define "trunkline.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a part: a list of the root and the part's name. */}}
{{- define "trunkline.selector" -}}
app.kubernetes.io/name: trunkline
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "trunkline.labels" -}}
{{ include "trunkline.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end -}}

{{/* An image: a list of the root and what overrides it. */}}
{{- define "trunkline.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- $repository := required "image.repository: name the image that deploy/image/build made" (coalesce $own.repository $root.Values.image.repository) -}}
{{- printf "%s:%s" $repository (coalesce $own.tag $root.Values.image.tag $root.Chart.AppVersion) -}}
{{- end -}}

{{- define "trunkline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "trunkline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* How to speak to Kafka, for gateways and shards. */}}
{{- define "trunkline.kafkaEnv" -}}
- name: TRUNKLINE_KAFKA__BOOTSTRAP
  value: {{ required "kafka.bootstrap: name your brokers, host:port" .Values.kafka.bootstrap | quote }}
- name: TRUNKLINE_KAFKA__PREFIX
  value: {{ .Values.kafka.prefix | quote }}
- name: TRUNKLINE_KAFKA__SLOTS
  value: {{ .Values.kafka.slots | quote }}
- name: TRUNKLINE_KAFKA__CREATE_TOPICS
  value: {{ .Values.kafka.createTopics | quote }}
{{- if .Values.kafka.tls.enabled }}
- name: TRUNKLINE_KAFKA__TLS
  value: "true"
{{- if .Values.kafka.tls.secret }}
- name: TRUNKLINE_KAFKA__CA_FILE
  value: /etc/trunkline/kafka-tls/ca.crt
{{- end }}
{{- if .Values.kafka.tls.clientCertificate }}
- name: TRUNKLINE_KAFKA__CERTIFICATE_FILE
  value: /etc/trunkline/kafka-tls/tls.crt
- name: TRUNKLINE_KAFKA__KEY_FILE
  value: /etc/trunkline/kafka-tls/tls.key
{{- end }}
{{- end }}
{{- if .Values.kafka.sasl.mechanism }}
{{- $secret := required "kafka.sasl.secret: name the Secret with username and password" .Values.kafka.sasl.secret }}
- name: TRUNKLINE_KAFKA__MECHANISM
  value: {{ .Values.kafka.sasl.mechanism }}
- name: TRUNKLINE_KAFKA__USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: username}
- name: TRUNKLINE_KAFKA__PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: password}
{{- end }}
{{- end -}}

{{/* Settings, certificates and a place for what may be written. */}}
{{- define "trunkline.volumeMounts" -}}
- name: settings
  mountPath: /etc/trunkline/settings
  readOnly: true
- name: scratch
  mountPath: /tmp
{{- if .Values.kafka.tls.secret }}
- name: kafka-tls
  mountPath: /etc/trunkline/kafka-tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "trunkline.volumes" -}}
- name: settings
  configMap:
    name: {{ include "trunkline.name" . }}
- name: scratch
  emptyDir: {}
{{- if .Values.kafka.tls.secret }}
- name: kafka-tls
  secret:
    secretName: {{ .Values.kafka.tls.secret }}
{{- end }}
{{- end -}}

{{/* Spread over zones and nodes, so that losing one loses as little as can be: a list of the root and the part's name. */}}
{{- define "trunkline.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "trunkline.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run. */}}
{{- define "trunkline.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
