{{/* What the pods have in common. */}}

{{- define "apixo-relay.podDefaults" -}}
automountServiceAccountToken: false
# Variables for services called relay or nats would look like settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "apixo-relay.containerDefaults" -}}
image: {{ include "apixo-relay.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* What the probes ask ('live', 'ready'), and how often the first one may fail ('startup'). */}}
{{- define "apixo-relay.probes" -}}
startupProbe:
  httpGet: {{ toJson .live }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: {{ .startup }}
livenessProbe:
  httpGet: {{ toJson .live }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {{ toJson .ready }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
