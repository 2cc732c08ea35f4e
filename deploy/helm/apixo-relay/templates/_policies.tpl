{{/* Rules of network policies. */}}

{{- define "apixo-relay.fromNamespace" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
{{- end }}

{{- define "apixo-relay.toNames" -}}
- to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: kube-system
    podSelector:
      matchLabels:
        k8s-app: kube-dns
  ports:
  - protocol: UDP
    port: 53
  - protocol: TCP
    port: 53
{{- end }}

{{- define "apixo-relay.toNATS" -}}
- to:
  {{- include "apixo-relay.fromNamespace" .Values.networkPolicy.natsNamespace | nindent 2 }}
  ports:
  - port: {{ include "apixo-relay.natsPort" . }}
{{- end }}

{{/* HTTPS to all public addresses, since policies know no names, and to none of a private
     network, the cluster or the cloud's metadata. */}}
{{- define "apixo-relay.toPublic" -}}
- to:
  - ipBlock:
      cidr: 0.0.0.0/0
      except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
  - ipBlock:
      cidr: "::/0"
      except: ["::1/128", "fc00::/7", "fe80::/10"]
  ports:
  - port: 443
{{- end }}
