"""Pictures of models: a typed graph as nested boxes (gather, scene), placed (layout), written as SVG (svg) or as a page (page)."""

from graphspec.draw.gather import make_scene
from graphspec.draw.page import is_page, notebook_html, picture, title_of, to_html, write
from graphspec.draw.scene import Scene
from graphspec.draw.svg import to_svg

__all__ = ["Scene", "is_page", "make_scene", "notebook_html", "picture", "title_of", "to_html", "to_svg", "write"]
