"""The tools whose files are read, in the order in which a line is tried."""

from . import decisions, harness, helm, inspect_logs, lighteval, servers

TOOLS = (
    harness.TOOL,
    helm.TOOL,
    lighteval.TOOL,
    inspect_logs.TOOL,
    decisions.TOOL,
    servers.TOOL,
)
BY_NAME = {tool.name: tool for tool in TOOLS}
