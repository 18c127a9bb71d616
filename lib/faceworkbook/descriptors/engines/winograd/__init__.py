"""The Winograd engine, for networks that begin with 3 x 3 convolutions, such as VGG-Face; see ``README.md``."""
