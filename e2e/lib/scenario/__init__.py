"""What the cases and the demo are made of: a TiKV cluster, a KMS, a client, the operator, and the evidence."""
