llmmon: no logs named
  try: llmmon COMMAND LOGS..., or `logs = [...]` in llmmon.toml, or $LLMMON_LOGS, or a pipe into stdin
