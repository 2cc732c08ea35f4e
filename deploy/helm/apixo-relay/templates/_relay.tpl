{{/* The pod with the relay, of a Deployment or a StatefulSet. */}}

{{- define "apixo-relay.relayPod" -}}
{{- $fullname := include "apixo-relay.fullname" . -}}
metadata:
  labels:
    {{- include "apixo-relay.selector" (list . "apixo-relay") | nindent 4 }}
    # By which the PodMonitor, and the page's network policy, find relays.
    apixo-relay/metrics: "true"
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Read once, at the start, so that a change has to be a rollout. The tokens are not:
    # they reach running relays as a changed file.
    apixo-relay/settings: {{ include "apixo-relay.relaySettings" . | sha256sum }}
    {{- with .Values.broker.password }}
    apixo-relay/nats: {{ list . $.Values.broker.ca | toJson | sha256sum }}
    {{- end }}
    {{- with .Values.statusAPI.key }}
    apixo-relay/api-key: {{ sha256sum . }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- $pod := include "apixo-relay.podDefaults" . | fromYaml }}
  {{- if include "apixo-relay.stateful" . }}
  # The volume belongs to fsGroup, so that a relay which is not root can write.
  {{- $_ := set $pod.securityContext "fsGroup" 65532 }}
  {{- $_ := set $pod.securityContext "fsGroupChangePolicy" "OnRootMismatch" }}
  {{- end }}
  {{- toYaml $pod | nindent 2 }}
  serviceAccountName: {{ include "apixo-relay.serviceAccount" . }}
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not .Values.broker.embedded }}
  topologySpreadConstraints:
  # Not all in one zone, nor on one node, where there are several.
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "apixo-relay.selector" (list $ "apixo-relay") | nindent 8 }}
    {{- if not $.Values.outbox.enabled }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  {{- end }}
  containers:
  - name: apixo-relay
    {{- include "apixo-relay.containerDefaults" . | nindent 4 }}
    ports:
    - name: relay-webhooks
      containerPort: 8720
    - name: relay-admin
      containerPort: 8721
    {{- if .Values.broker.embedded }}
    - name: nats
      containerPort: 4222
    {{- end }}
    envFrom:
    - configMapRef:
        name: {{ $fullname }}
    env:
    - name: RELAY_LISTEN_ADDR
      value: :8720
    # Not only on loopback, where neither the kubelet nor Prometheus gets to.
    # The network policy lets in who may.
    - name: RELAY_ADMIN_ADDR
      value: :8721
    - name: RELAY_WEBHOOK_TOKENS_FILE
      value: /etc/apixo-relay/tokens/tokens
    {{- if .Values.webhooks.tlsSecret }}
    - name: RELAY_TLS_CERT_FILE
      value: /etc/apixo-relay/tls/tls.crt
    - name: RELAY_TLS_KEY_FILE
      value: /etc/apixo-relay/tls/tls.key
    {{- end }}
    - name: NATS_PASSWORD_FILE
      value: /etc/apixo-relay/nats/password
    {{- if .Values.broker.embedded }}
    - name: RELAY_EMBEDDED_ADDR
      value: :4222
    {{- if .Values.broker.tlsSecret }}
    - name: RELAY_EMBEDDED_TLS_CERT_FILE
      value: /etc/apixo-relay/broker-tls/tls.crt
    - name: RELAY_EMBEDDED_TLS_KEY_FILE
      value: /etc/apixo-relay/broker-tls/tls.key
    {{- end }}
    {{- else }}
    - name: NATS_CA
      value: /etc/apixo-relay/nats/ca.crt
    {{- end }}
    {{- if include "apixo-relay.stateful" . }}
    - name: RELAY_DATA_DIR
      value: /data
    {{- end }}
    volumeMounts:
    # Whole folders, not subPath, whose files are never updated.
    - name: apixo-relay-tokens
      mountPath: /etc/apixo-relay/tokens
      readOnly: true
    - name: apixo-relay-nats
      mountPath: /etc/apixo-relay/nats
      readOnly: true
    {{- if .Values.webhooks.tlsSecret }}
    - name: apixo-relay-tls
      mountPath: /etc/apixo-relay/tls
      readOnly: true
    {{- end }}
    {{- if and .Values.broker.embedded .Values.broker.tlsSecret }}
    - name: apixo-relay-broker-tls
      mountPath: /etc/apixo-relay/broker-tls
      readOnly: true
    {{- end }}
    {{- if include "apixo-relay.stateful" . }}
    - name: apixo-relay-data
      mountPath: /data
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    # Until the first passes, neither liveness nor readiness is looked at. That is at once with
    # an external broker, there or not. An embedded one first reads its store, after a
    # crash all of it: 17 s for ten million events on a fast disk. This gives 5 minutes.
    # Liveness fails only where a restart helps, readiness while a webhook would be refused.
    {{- $probes := dict "startup" 300
          "live" (dict "path" "/healthz" "port" "relay-admin")
          "ready" (dict "path" "/readyz" "port" "relay-admin") }}
    {{- include "apixo-relay.probes" $probes | nindent 4 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ int .Values.preStopSeconds }}
    resources:
      {{- ternary .Values.broker.resources .Values.resources .Values.broker.embedded | toYaml | nindent 6 }}
  volumes:
  - name: apixo-relay-tokens
    secret:
      secretName: {{ include "apixo-relay.tokensSecret" . }}
  - name: apixo-relay-nats
    secret:
      secretName: {{ include "apixo-relay.natsSecret" . }}
  {{- with .Values.webhooks.tlsSecret }}
  - name: apixo-relay-tls
    secret:
      secretName: {{ . }}
  {{- end }}
  {{- if .Values.broker.embedded }}
  {{- with .Values.broker.tlsSecret }}
  - name: apixo-relay-broker-tls
    secret:
      secretName: {{ . }}
  {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
