{{/* Names and labels. */}}

{{- define "apixo-relay.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-apixo-relay" .Release.Name) (contains "apixo-relay" .Release.Name) -}}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* The alerts know by the job's name that a relay should be there, and the job has the name of
     its PodMonitor. */}}
{{- define "apixo-relay.job" -}}
{{- $name := include "apixo-relay.fullname" . -}}
{{- ternary $name (printf "%s-apixo-relay" $name) (contains "apixo-relay" $name) -}}
{{- end }}

{{- define "apixo-relay.stateful" -}}
{{- if or .Values.broker.embedded .Values.outbox.enabled }}true{{ end -}}
{{- end }}

{{- define "apixo-relay.serviceAccount" -}}
{{- $name := ternary (include "apixo-relay.fullname" .) "default" .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default $name -}}
{{- end }}

{{/* The names of secrets, of yours or of those that the chart makes. */}}
{{- define "apixo-relay.tokensSecret" -}}
{{- .Values.webhooks.existingSecret | default (printf "%s-tokens" (include "apixo-relay.fullname" .)) -}}
{{- end }}
{{- define "apixo-relay.natsSecret" -}}
{{- .Values.broker.existingSecret | default (printf "%s-nats" (include "apixo-relay.fullname" .)) -}}
{{- end }}
{{- define "apixo-relay.uiTokensSecret" -}}
{{- .Values.ui.existingSecret | default (printf "%s-ui-tokens" (include "apixo-relay.fullname" .)) -}}
{{- end }}
{{- define "apixo-relay.uiNATSSecret" -}}
{{- .Values.ui.existingNATSSecret | default (printf "%s-ui-nats" (include "apixo-relay.fullname" .)) -}}
{{- end }}
{{- define "apixo-relay.archiveSecret" -}}
{{- .Values.archive.existingSecret | default (printf "%s-archive" (include "apixo-relay.fullname" .)) -}}
{{- end }}

{{- define "apixo-relay.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Labels by which pods are found. A list: the root, and the name of the program. */}}
{{- define "apixo-relay.selector" -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* Labels of an object. A list, as above. */}}
{{- define "apixo-relay.labels" -}}
{{- $root := index . 0 -}}
{{- $own := include "apixo-relay.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" (toString $root.Chart.AppVersion) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- mergeOverwrite (deepCopy $root.Values.labels) $own | toYaml -}}
{{- end }}
