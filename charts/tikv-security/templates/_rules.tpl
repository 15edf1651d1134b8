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
  resources: [tikvsecurities/status, tikvvolumes/status]
  verbs: [patch]
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
# Configuration with our changes, and the agents' desired state.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Certificates. Never deleted: pods mount them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# Which volume is whose; metadata only.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.policies.enabled }}
# The labels by which policies hold.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* What holds in the whole cluster can be read in the whole cluster only. */}}
{{- define "tikv-security.clusterRules" -}}
- apiGroups: [security.tikv.org]
  resources: [tikvsecuritypolicies]
  verbs: [list]
{{- end -}}
