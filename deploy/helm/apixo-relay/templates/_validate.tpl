{{/* What the schema of the values cannot say in a sentence. */}}

{{- define "apixo-relay.validate" -}}
{{- $v := .Values -}}
{{- if $v.broker.embedded -}}
{{- range $name, $enabled := dict "ui" $v.ui.enabled "archive" $v.archive.enabled "nack" $v.nack.enabled "outbox" $v.outbox.enabled -}}
{{- if $enabled -}}
{{- fail (printf "%s.enabled needs a NATS cluster, and broker.embedded=true puts the broker inside the relay: set one of the two to false" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.broker.password (lt (len $v.broker.password) 16) -}}
{{- fail (printf "broker.password has %d characters, and the broker inside the relay asks for 16 or more: make one with 'openssl rand -hex 16'" (len $v.broker.password)) -}}
{{- end -}}
{{- else -}}
{{- if contains "@" $v.broker.url -}}
{{- fail "broker.url has a user or a password in it, which everybody would see: write the address alone; broker.user and a secret have the rest" -}}
{{- end -}}
{{- if not (regexMatch "^(nats|tls|wss?)://[^\\s,/]+(,(nats|tls|wss?)://[^\\s,/]+)*$" $v.broker.url) -}}
{{- fail (printf "broker.url=%s is no address of a NATS cluster: write tls://HOST:4222, or several of one cluster with commas between them" $v.broker.url) -}}
{{- end -}}
{{- if and $v.broker.ca (not (contains "-----BEGIN CERTIFICATE-----" $v.broker.ca)) -}}
{{- fail "broker.ca is no certificate in PEM form: give the file with --set-file broker.ca=ca.pem" -}}
{{- end -}}
{{- if $v.broker.tlsSecret -}}
{{- fail "broker.tlsSecret is for the broker inside the relay: set broker.embedded=true; the authority of a NATS cluster is the key ca.crt beside its password" -}}
{{- end -}}
{{- if and (or $v.broker.password (and $v.ui.enabled $v.ui.password) (and $v.archive.enabled $v.archive.password)) (not $v.broker.ca) -}}
{{- fail "broker.ca is empty, beside a password in the values: set it to the authority of the certificate of NATS (--set-file broker.ca=ca.pem), or keep both in a secret of yours" -}}
{{- end -}}
{{- end -}}

{{- range list
      (list "webhooks.existingSecret" $v.webhooks.existingSecret "webhooks.tokens" $v.webhooks.tokens)
      (list "broker.existingSecret" $v.broker.existingSecret "broker.password" $v.broker.password)
      (list "ui.existingSecret" $v.ui.existingSecret "ui.tokens" $v.ui.tokens)
      (list "ui.existingNATSSecret" $v.ui.existingNATSSecret "ui.password" $v.ui.password)
      (list "archive.existingSecret" $v.archive.existingSecret "archive.password" $v.archive.password) -}}
{{- if and (index . 1) (index . 3) -}}
{{- fail (printf "%s names a secret of yours, and %s makes one: leave one of the two empty" (index . 0) (index . 2)) -}}
{{- end -}}
{{- end -}}

{{- range $name, $tokens := dict "webhooks.tokens" $v.webhooks.tokens "ui.tokens" $v.ui.tokens -}}
{{- range $i, $token := $tokens -}}
{{- if regexMatch "[,\\s]" $token -}}
{{- fail (printf "%s[%d] has a comma or white space in it, which ends a token: make one with 'openssl rand -hex 16'" $name $i) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if $v.statusAPI.key -}}
{{- if not $v.webhooks.tokens -}}
{{- fail "statusAPI.key is for a secret that the chart makes (webhooks.tokens): put it into the secret of your tokens instead, as the key apixo-api-key" -}}
{{- end -}}
{{- else if and $v.webhooks.tokens (include "apixo-relay.asksAPIXO" .) -}}
{{- fail "statusAPI.key is empty, and statusAPI.expect and statusAPI.verify need it: set it to the key of your APIXO account" -}}
{{- end -}}
{{- if and $v.archive.credentials (not $v.archive.password) -}}
{{- fail "archive.credentials is for a secret that the chart makes (archive.password): put it into your secret instead, as the key credentials" -}}
{{- end -}}

{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail "ingress.host is empty: set it to the name in your callback URL, or ingress.enabled to false" -}}
{{- end -}}
{{- if and $v.ui.ingress.enabled (not $v.ui.ingress.host) -}}
{{- fail "ui.ingress.host is empty: set it to the name under which browsers ask for the page, or ui.ingress.enabled to false" -}}
{{- end -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas=%d is more than autoscaling.maxReplicas=%d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- end -}}

{{- /* Only where it is told in seconds, as by default. */ -}}
{{- $shutdown := dig "RELAY_SHUTDOWN_TIMEOUT" "25s" $v.settings | toString -}}
{{- if regexMatch "^[0-9]+s$" $shutdown -}}
{{- $need := add (trimSuffix "s" $shutdown | int) (int $v.preStopSeconds) 5 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $need) -}}
{{- fail (printf "terminationGracePeriodSeconds=%d kills relays that are still at work: RELAY_SHUTDOWN_TIMEOUT=%s and preStopSeconds=%d need %d or more" (int $v.terminationGracePeriodSeconds) $shutdown (int $v.preStopSeconds) $need) -}}
{{- end -}}
{{- end -}}

{{- if $v.nack.enabled -}}
{{- range list "RELAY_STREAM_MAX_AGE" "RELAY_DEDUPE_WINDOW" -}}
{{- $duration := dig . "1h" $v.settings | toString -}}
{{- if regexMatch "[dw]" $duration -}}
{{- fail (printf "settings.%s=%s has days or weeks, which NACK does not read: write hours, such as 168h" . $duration) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and .Release.IsUpgrade (not $v.allowBrokerChange) -}}
{{- include "apixo-relay.sameBroker" . -}}
{{- end -}}
{{- end }}

{{/* The broker stays where it is. A relay with an outbox is a StatefulSet, too, so that the
     settings are asked, which tell a cluster by its address. Without a cluster to ask, as in
     'helm template', nothing is found. */}}
{{- define "apixo-relay.sameBroker" -}}
{{- $name := include "apixo-relay.fullname" . -}}
{{- $old := lookup "v1" "ConfigMap" .Release.Namespace $name -}}
{{- if $old -}}
{{- $was := empty (dig "data" "NATS_URL" "" $old) -}}
{{- if and $was (not .Values.broker.embedded) -}}
{{- fail (printf "the events of this release are with the broker inside the relay, in the volume apixo-relay-data-%s-0, and broker.embedded=false takes consumers to the NATS cluster: let them read to the end, copy what has to be there ('apixo-relay replay --to -'), and set allowBrokerChange=true. The volume stays" $name) -}}
{{- else if and (not $was) .Values.broker.embedded -}}
{{- fail "the events of this release are in a NATS cluster, and broker.embedded=true begins with an empty store inside the relay: let consumers read to the end there, and set allowBrokerChange=true" -}}
{{- end -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- if and $set (not (include "apixo-relay.stateful" .)) -}}
{{- fail (printf "each relay of this release has an outbox in a volume (apixo-relay-data-%s-0 and so on), and outbox.enabled=false forwards no more of what is in it: wait until apixo_relay_outbox_messages is 0 for all of them, and set allowBrokerChange=true. The volumes stay" $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
