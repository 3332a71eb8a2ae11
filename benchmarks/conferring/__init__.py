"""Models that confer: what an arbiter and a committee are worth on saved outputs."""
