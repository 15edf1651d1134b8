{{/*
What the operator calls in a namespace that it looks after, and no more.
Lists and watches ask for metadata only, of objects that carry our label; RBAC cannot say that.
*/}}
{{- define "tikv-security.rules" -}}
# What a person wants. patch: our finalizer.
- apiGroups: [security.tikv.org]
  resources: [tikvsecurities]
  verbs: [get, list, watch, patch]
- apiGroups: [security.tikv.org]
  resources: [tikvsecurities/status, tikvvolumes/status, tikvclientcertificates/status]
  verbs: [patch]
# What an application wants. patch: our finalizer, until what was issued is revoked.
- apiGroups: [security.tikv.org]
  resources: [tikvclientcertificates]
  verbs: [get, list, watch, patch]
# Needed on clusters that check who may block the deletion of an owner.
- apiGroups: [security.tikv.org]
  resources: [tikvsecurities/finalizers]
  verbs: [update]
# One for each TiKV pod.
- apiGroups: [security.tikv.org]
  resources: [tikvvolumes]
  verbs: [get, list, watch, create, patch, delete]
# Pod templates of TiKV and PD.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, patch]
# delete: a restart, by UID.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# Configuration with our changes, the agents' desired state, CA certificates for others, CRLs.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Certificates, of the cluster and of its clients. Never deleted: pods mount them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
{{- if .Values.certManager.enabled }}
# Certificates of an issuer of cert-manager: a request is made, awaited and taken back.
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [create, get, list, watch, delete]
{{- end }}
# Which volume is whose; metadata only.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# The labels by which policies hold and clients are let in; whether a namespace for CA certificates is there.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/* What it calls in a namespace that has clients and no cluster (clientNamespaces). */}}
{{- define "tikv-security.clientRules" -}}
# patch: our finalizer, until what was issued is revoked.
- apiGroups: [security.tikv.org]
  resources: [tikvclientcertificates]
  verbs: [get, list, watch, patch]
- apiGroups: [security.tikv.org]
  resources: [tikvclientcertificates/status]
  verbs: [patch]
# The Secret that a TikvClientCertificate names, and that of its password. list, watch: metadata of those with our label.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# CA certificates: tls.trust.namespaces.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/* What holds in the whole cluster can be read in the whole cluster only. */}}
{{- define "tikv-security.clusterRules" -}}
- apiGroups: [security.tikv.org]
  resources: [tikvsecuritypolicies]
  verbs: [list]
{{- end -}}
