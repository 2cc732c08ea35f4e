{{/* Settings, as ConfigMaps have them. */}}

{{/* A setting is text. YAML's numbers come as floating-point ones, which Go writes with an
     exponent when they are large. */}}
{{- define "apixo-relay.settings" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the values make of the relay's settings, besides those that are written down. */}}
{{- define "apixo-relay.relaySettings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $_ := set $settings "NATS_USER" .Values.broker.user -}}
{{- if .Values.broker.embedded -}}
{{- $_ := set $settings "RELAY_STREAM_REPLICAS" "1" -}}
{{- else -}}
{{- $_ := set $settings "NATS_URL" .Values.broker.url -}}
{{- end -}}
{{- if .Values.outbox.enabled -}}
{{- $_ := set $settings "RELAY_OUTBOX" "true" -}}
{{- end -}}
{{- if .Values.nack.enabled -}}
{{- $_ := set $settings "RELAY_STREAM_POLICY" "require" -}}
{{- end -}}
{{- if .Values.statusAPI.expect -}}
{{- $_ := set $settings "RELAY_EXPECT" "true" -}}
{{- end -}}
{{- if ne .Values.statusAPI.verify "off" -}}
{{- $_ := set $settings "RELAY_VERIFY" .Values.statusAPI.verify -}}
{{- end -}}
{{- if include "apixo-relay.asksAPIXO" . -}}
{{- /* In the folder of the tokens, which is mounted anyway. */ -}}
{{- $_ := set $settings "APIXO_API_KEY_FILE" "/etc/apixo-relay/tokens/apixo-api-key" -}}
{{- end -}}
{{- include "apixo-relay.settings" $settings -}}
{{- end }}

{{- define "apixo-relay.asksAPIXO" -}}
{{- if or .Values.statusAPI.expect (ne .Values.statusAPI.verify "off") }}true{{ end -}}
{{- end }}

{{- define "apixo-relay.webhookPath" -}}
{{- dig "RELAY_WEBHOOK_PATH" "/webhook/apixo" .Values.settings -}}
{{- end }}

{{- define "apixo-relay.uiSettings" -}}
{{- $settings := deepCopy .Values.ui.settings -}}
{{- if .Values.ui.ingress.enabled -}}
{{- $_ := set $settings "RELAY_UI_HOSTS" .Values.ui.ingress.host -}}
{{- end -}}
{{- /* The relays' Service, to which quarantined webhooks are sent again. */ -}}
{{- $_ := set $settings "RELAY_LISTEN_ADDR" (printf "%s:%v" (include "apixo-relay.fullname" .) (int .Values.service.port)) -}}
{{- include "apixo-relay.settings" $settings -}}
{{- end }}

{{/* The port of the NATS cluster, of whose servers all have the same one. */}}
{{- define "apixo-relay.natsPort" -}}
{{- $port := regexFind ":[0-9]+" (regexReplaceAll "^[a-z]+://" .Values.broker.url "") -}}
{{- $port | trimPrefix ":" | default "4222" -}}
{{- end }}
