"""What is asked of nf_tables, and told it, without libnftables."""
