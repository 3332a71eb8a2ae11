"""The tools whose files are read, in the order in which a line is tried."""

from . import decisions, harness, servers

TOOLS = (harness.TOOL, decisions.TOOL, servers.TOOL)
BY_NAME = {tool.name: tool for tool in TOOLS}
