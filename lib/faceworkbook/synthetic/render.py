"""Render a person and a shot to a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from faceworkbook.synthetic import hair, headmodel, raster, skin
from faceworkbook.synthetic.camera import PIVOT, SIZE, SUPER, aim_camera, rotation, unit
from faceworkbook.synthetic.scene import background, develop, key_light, sky_light
from faceworkbook.synthetic.skin import srgb_to_linear

HEAD_TOP, CHIN = 8.49, 6.17
RED_SPREAD = np.array([1.0, 0.45, 0.25])


@dataclass(frozen=True)
class Head:
    """A person's neutral head, ready to be shot.

    Attributes
    ----------
    vertices : float array of shape (n, 3)
        In the frame of the template; every head has the template's height.
    size : float
        Factor that brought the shaped head to that height.
    skin : skin.Skin
    strands : list of hair.Strands
    """

    vertices: np.ndarray
    size: float
    skin: skin.Skin
    strands: list


def build_head(person: dict, rng: np.random.Generator) -> Head:
    """Shape, paint and comb a person's head (see `people.draw_person`)."""
    mesh = headmodel.load_mesh()
    shaped = headmodel.add_targets(mesh.vertices, person["shape"])
    vertices, size = _normalise(shaped, mesh.vertices)
    painted = skin.paint_skin(person, rng)
    return Head(vertices, size, painted, hair.grow_hair(person, vertices, rng))


def _normalise(shaped, template):
    """Scale and move a head to the template's height and place, on the shoulders that all heads share."""
    crown = np.argmax(template[:, 1] * (np.abs(template[:, 0]) < 0.2))
    front = (np.abs(template[:, 0]) < 0.1) & (template[:, 2] > 1.2) & (np.abs(template[:, 1] - 6.2) < 0.06)
    chin = shaped[front, 1].min()
    size = (HEAD_TOP - CHIN) / (shaped[crown, 1] - chin)
    ears = (np.abs(template[:, 1] - 7.1) < 0.4) & (np.abs(template[:, 0]) > 0.6) & (template[:, 2] < 0.8)
    anchor = np.array([0, chin, shaped[ears, 2].mean()])
    moved = (shaped - anchor) * size + [0, CHIN, template[ears, 2].mean()]
    weight = _smooth(template[:, 1], 5.75, 6.35)[:, None]
    return moved * weight + template * (1 - weight), size


def _smooth(value, low, high):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def render(head: Head, person: dict, expression: dict, pose: dict, scene: dict) -> tuple[np.ndarray, dict]:
    """Render one shot of a person.

    Returns
    -------
    picture : uint8 array of shape (128, 128, 3)
        BGR.
    box : dict
        top, left, bottom, right of the face (brow to chin, cheek to cheek) in pixels.
    """
    shot = _Shot(head, person, expression, pose, scene)
    linear = shot.shade()
    return develop(linear, scene), shot.box()


class _Shot:
    """The buffers of one picture; each method fills one of them."""

    def __init__(self, head, person, expression, pose, scene):
        self.head, self.person, self.expression, self.scene = head, person, expression, scene
        self.mesh = headmodel.load_mesh()
        self.size = SIZE * SUPER
        targets = {f"faceunits01/targets/faceunits/{k}.target": v for k, v in expression["actions"].items()}
        self.face = headmodel.add_targets(head.vertices, targets)
        self.turn = rotation(**pose)
        body = rotation(yaw=pose["yaw"] * 0.3 + scene["body_turn"], pitch=0, roll=0)
        self.posed = self._pose(self.face, body)
        self.camera = aim_camera(self.turn, scene)
        self.key, self.key_colour = key_light(scene)

    def _pose(self, vertices, body):
        template_y = self.mesh.vertices[:, 1]
        weight = _smooth(template_y, 5.7, 6.5)
        weight[template_y > 6.5] = 1
        wide = vertices.copy()
        low = (1 - _smooth(template_y, 5.6, 6.1))[:, None]
        wide[:, :1] = wide[:, :1] * (1 + (self.scene["shoulders"] - 1) * low)
        turned = (wide - PIVOT) @ self.turn.T + PIVOT
        still = (wide - PIVOT) @ body.T + PIVOT
        return turned * weight[:, None] + still * (1 - weight[:, None])

    def box(self):
        template = self.mesh.vertices
        face = (template[:, 1] > 6.2) & (template[:, 1] < 7.9) & (template[:, 2] > 0.75)
        xy = self.camera.project(self.posed[face])[:, :2] / SUPER
        left, top = np.clip(xy.min(axis=0), 0, SIZE)
        right, bottom = np.clip(xy.max(axis=0), 0, SIZE)
        box = {"top": top, "left": left, "bottom": bottom, "right": right}
        return {name: round(float(value), 1) for name, value in box.items()}

    def shade(self):
        """Return linear RGB of shape (size, size, 3)."""
        mesh, points = self.mesh, self.camera.project(self.posed)
        depth, hit, weights = raster.fill_triangles(points, mesh.triangles, self.size)
        self.depth, self.seen = depth, hit >= 0
        self.rows, self.columns = np.nonzero(self.seen)
        self.triangle = hit[self.seen]
        self.weight = weights[self.seen]
        corners = mesh.triangles[self.triangle]
        self.at = self._mix(self.posed[corners])
        self.template = self._mix(mesh.vertices[corners])
        normals = headmodel.vertex_normals(self.posed, mesh.triangles)
        self.normal = unit(self._mix(normals[corners]))
        image = background(self.scene, self.size)
        albedo, gloss = self._surface()
        image[self.seen] = self._light(albedo, gloss)
        image = self._scatter(image)
        self._draw_hair(image)
        return image

    def _mix(self, corners):
        return (corners * self.weight[..., None]).sum(axis=1)

    def _surface(self):
        """Return albedo and gloss of each visible point; bend the normals of the skin."""
        surface = self.mesh.surface[self.triangle]
        albedo, gloss = np.zeros((len(surface), 3)), np.full(len(surface), 0.35 * self.person["oil"])
        own = surface == headmodel.SKIN
        albedo[own] = self._skin_albedo(own)
        self._bend(own)
        for eye in (headmodel.EYE_LEFT, headmodel.EYE_RIGHT):
            mine = surface == eye
            if mine.any():
                albedo[mine], gloss[mine] = self._eye(mine, eye)
        teeth = (surface == headmodel.TEETH_UPPER) | (surface == headmodel.TEETH_LOWER)
        albedo[teeth] = srgb_to_linear([226, 214, 196]) * 0.8
        albedo[surface == headmodel.TONGUE] = srgb_to_linear([150, 70, 70]) * 0.6
        cloth = own & (self.template[:, 1] < self.scene["collar"] + 0.1 * self.template[:, 0] ** 2)
        self.cloth = cloth
        albedo[cloth] = [self.scene[f"cloth_{c}"] for c in "rgb"]
        gloss[cloth] = 0.03
        return albedo, gloss

    def _skin_albedo(self, own):
        place = skin.to_map(self.template[own]).astype(np.float32)
        colour = _look_up(self.head.skin.albedo, place)
        uv = self._mix(self.mesh.uv[self.triangle])[own]
        lips, mouth, lids = (_sample(_uv_mask(name), uv) for name in ("lips", "inside-mouth", "eyelids"))
        colour = colour * (1 + lips[:, None] * (self.head.skin.lips - 1))
        colour = colour * (1 - mouth[:, None] * np.array([0.75, 0.9, 0.9]))
        deep = np.clip((1.33 - self.template[own, 2]) / 0.1, 0, 1) * (lips > 0.2)
        colour = colour * (1 - 0.7 * deep[:, None])
        line = lids * (0.25 + 0.45 * self.person["makeup"])
        return colour * (1 - line[:, None] * [0.8, 0.9, 0.9])

    def _bend(self, own):
        """Tilt the normals by the slope of pores and furrows, measured in the picture."""
        place = skin.to_map(self.template[own]).astype(np.float32)
        depth = self._furrow_depths()
        profile, valley = skin.furrow_stack()
        relief = self.head.skin.relief - 0.014 * np.tensordot(depth, profile, 1)
        both = np.dstack([relief, np.tensordot(np.clip(depth, 0, 2), valley, 1)]).astype(np.float32)
        got = _look_up(both, place)
        height = np.zeros((self.size, self.size), np.float32)
        rows, columns = self.rows[own], self.columns[own]
        height[rows, columns] = got[:, 0]
        down, right = np.gradient(height * self.camera.pixels)
        slope = np.clip(np.column_stack([-right[rows, columns], down[rows, columns]]), -0.8, 0.8)
        bent = self.normal[own].copy()
        bent[:, :2] += slope * np.clip(bent[:, 2:3], 0, 1)
        self.normal[own] = unit(bent)
        self.crease = np.zeros(len(own))
        self.crease[own] = np.clip(got[:, 1], 0, 1.5)

    def _furrow_depths(self):
        """Return the depth of each furrow group: at rest by age, plus what the expression adds."""
        folds, rest = self.expression["folds"], self.head.skin.furrows
        young = 0.2 + 0.8 * min(self.person["age"] / 30, 1)
        return np.array([rest[name] + folds.get(name, 0.0) * young for name in skin.FURROWS], np.float32)

    def _eye(self, mine, eye):
        index = np.unique(self.mesh.triangles[self.mesh.surface == eye])
        ball = self.face[index]
        centre = (ball.min(axis=0) + ball.max(axis=0)) / 2
        radius = np.ptp(ball[:, 1]) / 2
        inward = (self.at[mine] - PIVOT) @ self.turn + PIVOT - centre
        away = inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9)
        gaze = rotation(yaw=self.scene["gaze_x"], pitch=self.scene["gaze_y"], roll=0) @ [0, 0, 1]
        angle = np.degrees(np.arccos(np.clip(away @ gaze, -1, 1)))
        white = srgb_to_linear([226, 220, 214]) * (
            1 - 0.25 * np.clip(np.abs(inward[:, :1]) / radius, 0, 1) ** 2
        )
        iris = srgb_to_linear(self.person["iris"]) * (1.3 - 0.5 * np.clip(angle / 25, 0, 1))[:, None]
        edge = np.clip((27 - angle) / 2.5, 0, 1)[:, None]
        colour = white * (1 - edge) + iris * edge
        colour *= 1 - 0.6 * np.exp(-(((angle - 25) / 2) ** 2))[:, None]
        colour *= 1 - 0.97 * np.clip((11 - angle) / 1.5, 0, 1)[:, None]
        lid = np.clip((inward[:, 1] / radius - 0.05) / 0.4, 0, 1)
        return colour * (1 - 0.55 * lid[:, None]), np.full(mine.sum(), 2.5)

    def _light(self, albedo, gloss):
        scene, n = self.scene, self.normal
        open_sky = self._occlusion()[self.seen]
        open_sky = open_sky * (1 - 0.45 * self.crease)
        up = (n[:, 1:2] + 1) / 2
        sky = sky_light(self.scene)
        ambient = sky * (up + (1 - up) * scene["ground"])
        shade = self._key_shadow()
        # The shadow of a beard or of long hair would carry the label into the lower edge of the picture.
        shade[self.cloth], open_sky[self.cloth] = 0.9, 0.9
        lambert = (n @ self.key)[:, None]
        wrapped = np.clip((lambert + 0.25 * RED_SPREAD) / (1 + 0.25 * RED_SPREAD), 0, 1)
        key = self.key_colour * wrapped * shade[:, None]
        self.irradiance = ambient * open_sky[:, None] + key
        view = unit(self.camera.position - self.at)
        half = unit(view + self.key)
        sharp = np.where(gloss > 1, 220, 22)
        spot = np.clip((n * half).sum(axis=1), 0, 1) ** sharp * shade
        rim = (1 - np.clip((n * view).sum(axis=1), 0, 1)) ** 4
        shine = (
            0.16 * (gloss * spot)[:, None] * self.key_colour
            + 0.06 * (np.minimum(gloss, 0.5) * rim * open_sky)[:, None] * sky
        )
        return albedo * self.irradiance + shine

    def _occlusion(self):
        """Return how open each point is to the sky (0..1), from how far it lies behind its surroundings."""
        depth = np.where(np.isfinite(self.depth), self.depth, self.camera.distance + 0.9).astype(np.float32)
        opened = np.ones_like(depth)
        for radius, weight, span in ((0.05, 0.35, 0.03), (0.14, 0.35, 0.10), (0.4, 0.25, 0.35)):
            around = cv2.GaussianBlur(depth, (0, 0), radius * self.camera.pixels)
            opened -= weight * np.clip((depth - around) / span, 0, 1)
        self.openness = np.clip(opened, 0.12, 1)
        return self.openness

    def _key_shadow(self):
        """Return the key light that reaches each point past head and hair (0..1), with soft edges."""
        basis = _basis(self.key)
        scale = 256 / 4.2

        def seen_from_light(points):
            flat = (points - self.camera.centre) @ basis.T
            return np.stack(
                [128 + flat[..., 0] * scale, 128 - flat[..., 1] * scale, 50 - flat[..., 2]], axis=-1
            )

        depth, _, _ = raster.fill_triangles(seen_from_light(self.posed), self.mesh.triangles, 256)
        scratch, cover = np.zeros((256, 256, 3), np.float32), np.zeros((256, 256), np.float32)
        for strands in self.head.strands[:1] if self.person["hair"]["length"] > 0.1 else []:
            placed = seen_from_light(self._strand_points(strands)[::3])
            tone = np.zeros(placed.shape)
            raster.draw_strands(placed, tone, np.full(placed.shape[:2], 1.0), depth, scratch, cover)
        here = seen_from_light(self.at)
        x, y = here[:, 0].astype(np.float32), here[:, 1].astype(np.float32)
        light = np.zeros(len(here), np.float32)
        for dx, dy in (
            (0, 0),
            (1.5, 0),
            (-1.5, 0),
            (0, 1.5),
            (0, -1.5),
            (2.5, 2.5),
            (-2.5, 2.5),
            (2.5, -2.5),
            (-2.5, -2.5),
        ):
            column, row = np.clip(x + dx, 0, 255).astype(int), np.clip(y + dy, 0, 255).astype(int)
            light += (here[:, 2] < depth[row, column] + 0.06) / 9
        return 0.15 + 0.85 * light

    def _scatter(self, image):
        """Scatter light under the skin, red further than blue, by blurring the light and not the colour."""
        skin_only = np.zeros((self.size, self.size), np.float32)
        skin_only[self.seen] = self.mesh.surface[self.triangle] == headmodel.SKIN
        field = np.zeros((self.size, self.size, 3), np.float32)
        field[self.seen] = self.irradiance
        result = image.copy()
        for i, reach in enumerate(RED_SPREAD):
            sigma = 0.028 * reach * self.camera.pixels
            amount = cv2.GaussianBlur(skin_only, (0, 0), sigma)
            smooth = cv2.GaussianBlur(field[..., i] * skin_only, (0, 0), sigma) / np.maximum(amount, 1e-3)
            ratio = np.where(skin_only > 0, smooth / np.maximum(field[..., i], 1e-3), 1)
            result[..., i] = image[..., i] * np.clip(1 + 0.7 * (ratio - 1), 0.5, 1.6)
        return result.astype(np.float32)

    def _strand_points(self, strands):
        placed = hair.place_strands(strands, self.face).astype(np.float32)
        return (placed - PIVOT.astype(np.float32)) @ self.turn.T.astype(np.float32) + PIVOT.astype(np.float32)

    def _draw_hair(self, image):
        depth = self.depth.astype(np.float32).copy()
        cover = np.zeros((self.size, self.size), np.float32)
        layer = image.copy()
        for strands in self.head.strands:
            placed = self._strand_points(strands)
            colours = self._strand_colours(strands, placed)
            width = np.minimum(strands.width * self.camera.pixels, 4.0)
            raster.draw_strands(self.camera.project(placed), colours, width, depth, layer, cover)
        around = cv2.GaussianBlur(
            np.where(np.isfinite(depth), depth, self.camera.distance + 0.9), (0, 0), 0.09 * self.camera.pixels
        )
        behind = np.clip((depth - around) / 0.12, 0, 1) * cover
        image[:] = layer * (1 - 0.55 * np.nan_to_num(behind, posinf=1))[..., None]
        shadow = cv2.GaussianBlur(cover, (0, 0), 0.05 * self.camera.pixels) * (1 - cover)
        image *= (1 - 0.3 * shadow * self.seen)[..., None]

    def _strand_colours(self, strands, placed):
        """Return the strands' linear RGB after Kajiya and Kay: bright across the light, with a highlight."""
        sky, key = (v.astype(np.float32) for v in (sky_light(self.scene), self.key_colour))
        towards = self.key.astype(np.float32)
        along = np.empty_like(placed)
        along[:, 1:] = placed[:, 1:] - placed[:, :-1]
        along[:, 0] = along[:, 1]
        along = unit(along)
        outward = unit(placed - (self.turn @ (hair.CENTRE - PIVOT) + PIVOT).astype(np.float32))
        facing = np.clip(0.5 + 0.6 * (outward @ towards), 0.12, 1)
        half = unit(towards + np.array([0, 0, 1], np.float32))
        shine = np.clip(1 - (along @ half) ** 2, 0, 1) ** 40 * facing
        across = np.sqrt(np.clip(1 - (along @ towards) ** 2, 0, 1)) * facing
        up = (outward[..., 1] + 1) / 2
        inside = np.linspace(0.55, 1.0, placed.shape[1], dtype=np.float32)
        ambient = 0.75 * inside * (up + (1 - up) * np.float32(self.scene["ground"]))
        light = ambient[..., None] * sky + (0.85 * inside * across)[..., None] * key
        colour = strands.colour.astype(np.float32)[:, None] * light
        return colour + (np.float32(0.35 * strands.shine) * shine * inside)[..., None] * key


def _basis(towards):
    right = unit(np.cross([0, 1.0, 0], towards))
    return np.stack([right, np.cross(towards, right), towards])


@cache
def _uv_mask(name):
    path = headmodel.data_folder() / f"mpfb2/textures/mpfb_{name}.jpg"
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def _sample(mask, uv):
    height, width = mask.shape
    return _look_up(mask, np.column_stack([uv[:, 0] * width, (1 - uv[:, 1]) * height]))


def _look_up(picture, places):
    """Return a picture's values at (column, row) places, interpolated linearly."""
    rows = -(-len(places) // 512)  # OpenCV allows no side above 32,767
    grid = np.zeros((rows * 512, 2), np.float32)
    grid[: len(places)] = places
    got = cv2.remap(
        picture, grid.reshape(rows, 512, 2), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return got.reshape(rows * 512, *picture.shape[2:])[: len(places)]
