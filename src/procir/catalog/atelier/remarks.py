"""Sentences that are true of every garment of a kind; they bring short descriptions to length."""

from __future__ import annotations

from collections.abc import Mapping

GENERAL = (
    "The lines are kept clean, so that every detail can be read at a glance.",
    "The proportions feel balanced from the top edge down to the hem.",
    "Seams and edges are finished neatly, and nothing looks raised or bulky.",
    "There is no lettering anywhere, which keeps the look open for many occasions.",
    "The color scheme is simple and repeats over the whole piece.",
    "It can be dressed up or down, depending on what is worn with it.",
    "The overall impression is tidy, modern and easy to combine.",
    "Nothing about the construction looks fussy, and the piece seems simple to put on.",
    "The design would suit a capsule wardrobe as well as a seasonal outfit.",
    "Its details are placed with care and do not compete with one another.",
    "The surface lies smoothly, with only a few soft folds where the body moves.",
    "Worn alone or layered, the piece keeps its clear outline.",
    "The workmanship appears careful, with regular seams and well matched parts.",
    "It reads as casual at first sight, yet it stays neat enough for town.",
    "The balance of plain areas and accents gives the piece a calm rhythm.",
    "A shopper would notice the outline first and the finer construction after it.",
    "The look is contemporary and does not depend on a short-lived trend.",
    "Care and storage should be simple for a piece of this kind.",
)
"""For long captions of any garment."""

OF_FABRIC: Mapping[str, tuple[str, ...]] = {
    "smooth cotton": (
        "The cotton has a smooth, matte face and an even weave.",
        "As a fabric, cotton breathes well and feels familiar on the skin.",
    ),
    "ribbed knit": (
        "The knit shows fine ribs that follow the body and give with every movement.",
        "Ribbed fabric of this kind stretches a little and springs back into shape.",
    ),
    "denim": (
        "The denim has the firm hand and the visible twill that the cloth is known for.",
        "Fabric of this weight holds its shape and ages well with wear.",
    ),
    "satin": (
        "The satin has a soft sheen that catches the light along the folds.",
        "Fabric of this kind falls fluidly and feels cool to the touch.",
    ),
    "fleece": (
        "The fleece looks soft and slightly brushed, and it promises warmth.",
        "Fabric of this kind is comfortable on cool days and easy to layer.",
    ),
    "linen": (
        "The linen shows the slightly irregular threads that are typical of the cloth.",
        "Fabric of this kind is airy and gains character as it softens.",
    ),
    "corduroy": (
        "The corduroy shows fine raised cords that run along the cloth.",
        "Fabric of this kind feels warm and gives plain surfaces some depth.",
    ),
}
"""For captions of garments in a fabric."""

OF_PLAN: Mapping[str, tuple[str, ...]] = {
    "top": (
        "It pairs well with jeans, trousers or a plain skirt.",
        "As an upper layer, it leaves room for a jacket or a scarf on top.",
    ),
    "pants": (
        "They pair well with a simple tee, a shirt or a knitted top.",
        "The waist sits neatly and the legs hang without twisting.",
    ),
    "skirt": (
        "It pairs well with a tucked-in tee, a blouse or a fine sweater.",
        "The waist sits neatly, and the skirt hangs freely below it.",
    ),
    "dress": (
        "With flat shoes it suits the day, and with heels it suits the evening.",
        "As a one-piece look, it needs little more than a pair of shoes.",
    ),
    "jumpsuit": (
        "With flat shoes it suits the day, and with heels it suits the evening.",
        "As a one-piece look, it joins the top and the legs at the waist.",
    ),
}
"""For captions of garments of a plan."""

OF_VIEW: Mapping[str, tuple[str, ...]] = {
    "front": (
        "The garment is centered in the picture and shown at full height.",
        "The background is plain, so the outline stands out clearly.",
        "The light is even and leaves the color of the material easy to judge.",
        "From this angle the proportions look balanced and the lines stay clean.",
        "The piece hangs straight, without twisting or pulling.",
        "Edges and seams are crisp, and the surface shows only a few soft folds.",
        "There is no lettering to be read on this side.",
        "The construction details can be made out without difficulty.",
        "Everything is shown at rest, as on a dress form.",
        "The most telling features are placed where the eye falls first.",
    ),
    "side": (
        "This angle makes the depth of the silhouette visible.",
        "The seam can be followed from the top edge to the hem.",
        "The background is plain, and the outline is easy to follow.",
        "Seen in profile, the piece falls cleanly and does not bunch up.",
        "Neither the middle of the front nor the middle of the back can be judged from here.",
        "The light is even, with a gentle shadow along the far edge.",
        "The profile confirms the overall length and volume.",
        "The material keeps the same color and surface all the way around.",
        "The garment stands upright and is shown at full height.",
        "Small details near the seam can be recognized from this position.",
    ),
    "back": (
        "The garment is centered in the picture and shown at full height.",
        "The background is plain, so the outline from behind is clear.",
        "The material keeps the same color and surface as on the rest of the piece.",
        "Seen from behind, the piece hangs straight and the proportions stay balanced.",
        "The light is even, and the seams lie flat.",
        "There is no lettering to be read on this side.",
        "The construction of the rear can be made out without difficulty.",
        "Whatever distinguishes the front is hidden from this position.",
        "Edges are crisp, and only a few soft folds interrupt the surface.",
        "This angle completes what a shopper needs to know about the design.",
    ),
    "detail": (
        "The distance is short enough to judge the structure of the material.",
        "Threads, edges and fastenings are sharper here than in a full picture.",
        "Only a section of the garment is visible, so its outline cannot be judged.",
        "The color appears slightly richer at this distance.",
        "The workmanship looks regular, without loose threads or puckers.",
        "The light falls across the surface and brings out its texture.",
        "A close look like this helps to imagine how the cloth would feel.",
        "The section is representative of the whole piece.",
    ),
    "full": (
        "The picture gives an idea of the size of the piece in relation to the body.",
        "The garment is the center of attention, and everything else stays in the background.",
        "The pose is calm, and the piece is not covered by arms or accessories.",
        "Worn like this, the fabric falls naturally along the body.",
        "The proportions of the look are easy to take in.",
        "The light is even, and the color can be judged well.",
        "The outfit shows one of many ways to combine the piece.",
        "From head to toe, the look is simple and coherent.",
        "Details are smaller at this distance but can still be recognized.",
    ),
}
"""For captions of single images."""

SYMMETRIC = (
    "Left and right mirror each other, so the design is symmetrical.",
    "The design is symmetrical, with the same features on the left and on the right.",
)
"""For garments without a difference between left and right."""

CLOSINGS = (
    "An easy piece for every day.",
    "A versatile choice for town and weekend.",
    "Clean lines make it simple to combine.",
    "Neat finish and balanced proportions throughout.",
    "Suited to casual outfits in any season.",
    "Simple to style with basics.",
)
"""For the end of short captions."""
