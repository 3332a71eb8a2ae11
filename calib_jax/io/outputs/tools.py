"""The tools whose files are read, in the order in which a line is tried."""

from . import decisions, harness, helm, servers

TOOLS = (harness.TOOL, helm.TOOL, decisions.TOOL, servers.TOOL)
BY_NAME = {tool.name: tool for tool in TOOLS}
