"""The separable engine, for networks that begin with depthwise-separable convolutions; see ``README.md``."""
