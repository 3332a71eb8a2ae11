"""The tools whose files are read, in the order in which a line is tried."""

from . import decisions, harness, inspect_logs, servers

TOOLS = (harness.TOOL, inspect_logs.TOOL, decisions.TOOL, servers.TOOL)
BY_NAME = {tool.name: tool for tool in TOOLS}
