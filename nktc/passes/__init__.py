"""Graph to Graph. A pass returns the graph it was given when there is nothing to do."""

from nktc.passes.deploy import deploy

__all__ = ["deploy"]
