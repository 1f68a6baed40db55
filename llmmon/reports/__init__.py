"""Reports: what each command finds out, as frozen values in public units; nothing here knows how it is shown."""
