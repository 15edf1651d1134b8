"""A real Kubernetes of one node, from the public package registries, without a container engine."""
