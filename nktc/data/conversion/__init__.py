"""`nktc data convert`: a plan says what records there are, `made` makes them, `targets` write them, all or nothing."""
