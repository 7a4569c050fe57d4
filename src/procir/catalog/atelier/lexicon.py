"""How values are said: noun phrases of every value of every attribute.

`full` stands anywhere in a text, `bare` where the text has named the place (front, back, side), `compact` in
lists as shoppers type them. Patterns leave a slot for the color that they are drawn in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from procir.catalog.atelier.garments import COLORS, Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """The ways to say one value; all of one kind mean the same."""

    full: tuple[str, ...]
    bare: tuple[str, ...]
    compact: tuple[str, ...]


def _say(full: str, compact: str, bare: str = "") -> Phrases:
    return Phrases(full=_split(full.replace("| ", "")), bare=_split(bare or _cores(full)), compact=_split(compact))


def _split(phrases: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in phrases.split(";"))


def _cores(full: str) -> str:
    return ";".join(phrase.split("|")[0] for phrase in full.split(";"))


SLOT = "{accent} "
"""Where the color of a pattern goes."""

_CLEAN_BARE = "no extra detail; a clean surface"

PHRASES: Mapping[str, Mapping[str, Phrases]] = {
    "color": {color: _say(f"a {color} base color; {color} as the main color", color) for color in COLORS},
    "pattern": {
        "solid": _say("a solid surface without a print; a plain solid surface", "solid color; no print"),
        "horizontal stripes": _say(
            "{accent} horizontal stripes; {accent} stripes that run horizontally", "{accent} horizontal stripes"
        ),
        "vertical stripes": _say(
            "{accent} vertical stripes; {accent} stripes that run vertically", "{accent} vertical stripes"
        ),
        "plaid": _say("a {accent} plaid; a {accent} plaid check", "{accent} plaid"),
        "polka dots": _say("{accent} polka dots; a pattern of {accent} polka dots", "{accent} polka dots"),
        "floral": _say("a {accent} floral print; a {accent} floral pattern", "{accent} floral print"),
        "zigzag": _say("a {accent} zigzag pattern; {accent} zigzag lines", "{accent} zigzag"),
        "leopard": _say("a {accent} leopard print; {accent} leopard spots", "{accent} leopard print"),
        "tie-dye": _say("a {accent} tie-dye pattern; a {accent} tie-dye effect", "{accent} tie-dye"),
    },
    "accent": {
        color: _say(f"a {color} second color; {color} as the pattern color", f"{color} pattern") for color in COLORS
    },
    "fabric": {
        "smooth cotton": _say("smooth cotton; a smooth cotton fabric", "smooth cotton"),
        "ribbed knit": _say("a ribbed knit; a ribbed knit fabric", "ribbed knit"),
        "denim": _say("denim; sturdy denim", "denim"),
        "satin": _say("satin; glossy satin", "satin"),
        "fleece": _say("fleece; soft fleece", "fleece"),
        "linen": _say("linen; textured linen", "linen"),
        "corduroy": _say("corduroy; ridged corduroy", "corduroy"),
    },
    "fit": {
        "slim": _say("a slim fit; a close slim fit", "slim fit"),
        "regular": _say("a regular fit; an easy regular fit", "regular fit"),
        "relaxed": _say("a relaxed fit; a loose relaxed fit", "relaxed fit"),
    },
    "neckline": {
        "crew": _say("a crew neckline; a round crew neck", "crew neck"),
        "v-neck": _say("a V-neck; a V-neck opening", "V-neck"),
        "scoop": _say("a scoop neckline; a deep scoop neck", "scoop neck"),
        "square": _say("a square neckline; a square-cut neck", "square neck"),
        "boat": _say("a boat neckline; a wide boat neck", "boat neck"),
        "mock": _say("a mock neck; a short mock neck", "mock neck"),
        "point collar": _say("a point collar; a classic point collar", "point collar"),
        "mandarin collar": _say("a mandarin collar; a stand-up mandarin collar", "mandarin collar"),
        "notched lapel": _say("a notched lapel; a notched lapel collar", "notched lapel"),
        "hood": _say("a hood; a roomy hood", "hood"),
    },
    "sleeves": {
        "sleeveless": _say("a sleeveless cut; sleeveless armholes", "sleeveless cut"),
        "short": _say("short sleeves; neat short sleeves", "short sleeves"),
        "elbow": _say("elbow-length sleeves; sleeves to the elbow", "elbow sleeves"),
        "long": _say("long sleeves; wrist-length long sleeves", "long sleeves"),
    },
    "cuffs": {
        "plain": _say("plain cuffs; simple plain cuffs", "plain cuffs"),
        "ribbed": _say("ribbed cuffs; snug ribbed cuffs", "ribbed cuffs"),
        "rolled": _say("rolled cuffs; turned-back rolled cuffs", "rolled cuffs"),
        "contrast": _say("contrast cuffs; cuffs in a contrast color", "contrast cuffs"),
        "ruffled": _say("ruffled cuffs; frilly ruffled cuffs", "ruffled cuffs"),
    },
    "armband": {
        "none": _say("no band on either sleeve; no armband", "no armband"),
        "left sleeve": _say(
            "a band on the wearer's left sleeve; an armband on the wearer's left sleeve", "left-sleeve armband"
        ),
        "right sleeve": _say(
            "a band on the wearer's right sleeve; an armband on the wearer's right sleeve", "right-sleeve armband"
        ),
    },
    "closure": {
        "none": _say("no front closure; an unbroken front without a closure", "no front closure", "no closure"),
        "full buttons": _say(
            "a full row of buttons | down the front; a full button front", "full button front", "a full row of buttons"
        ),
        "half placket": _say("a half placket; a short half placket", "half placket"),
        "zipper": _say("a zipper | down the front; a full zipper | at the front", "front zipper"),
        "double-breasted": _say("a double-breasted closure; a double-breasted front", "double-breasted closure"),
        "tie front": _say("a tie front; a knotted tie front", "tie front"),
    },
    "chest": {
        "none": _say("a clean chest; an unadorned chest", "clean chest"),
        "left pocket": _say(
            "a chest pocket on the wearer's left; a single pocket on the wearer's left chest", "left chest pocket"
        ),
        "right pocket": _say(
            "a chest pocket on the wearer's right; a single pocket on the wearer's right chest", "right chest pocket"
        ),
        "two pockets": _say("two chest pockets; a pair of chest pockets", "two chest pockets"),
        "left emblem": _say(
            "an emblem on the wearer's left chest; a small emblem on the wearer's left chest", "left chest emblem"
        ),
        "right emblem": _say(
            "an emblem on the wearer's right chest; a small emblem on the wearer's right chest", "right chest emblem"
        ),
        "star print": _say("a star print on the chest; a printed star on the chest", "star chest print"),
        "heart print": _say("a heart print on the chest; a printed heart on the chest", "heart chest print"),
        "circle print": _say("a circle print on the chest; a printed circle on the chest", "circle chest print"),
    },
    "back": {
        "plain": _say("a plain back; a clean plain back", "plain back", _CLEAN_BARE),
        "yoke": _say("a yoke | across the back; a seamed yoke | at the back", "back yoke"),
        "keyhole": _say("a keyhole opening | at the back; a keyhole | at the back", "keyhole back"),
        "criss-cross straps": _say(
            "criss-cross straps | at the back; open criss-cross straps | over the back", "criss-cross back straps"
        ),
        "zipper": _say("a zipper | down the back; an exposed zipper | at the back", "back zipper"),
        "button row": _say("a row of buttons | down the back; a button row | along the back", "back button row"),
        "bow": _say("a bow | at the back; a tied bow | on the back", "back bow"),
        "star print": _say("a star print | on the back; a printed star | on the back", "star back print"),
        "circle print": _say("a circle print | on the back; a printed circle | on the back", "circle back print"),
        "center vent": _say("a center vent | at the back; a center vent | in the back", "back center vent"),
        "two pockets": _say("two pockets | at the back; a pair of pockets | on the back", "two back pockets"),
    },
    "hem": {
        "straight": _say("a straight hem; an even straight hem", "straight hem"),
        "curved": _say("a curved hem; a rounded curved hem", "curved hem"),
        "ribbed": _say("a ribbed hem; a ribbed hem band", "ribbed hem"),
        "ruffled": _say("a ruffled hem; a gathered ruffled hem", "ruffled hem"),
        "slanted left": _say(
            "a slanted hem that is longer on the wearer's left; a hem that slants down to the wearer's left",
            "hem slanted to the left",
        ),
        "slanted right": _say(
            "a slanted hem that is longer on the wearer's right; a hem that slants down to the wearer's right",
            "hem slanted to the right",
        ),
        "plain": _say("plain leg hems; simple plain leg hems", "plain leg hems"),
        "cuffed": _say("cuffed hems; turned-up cuffed hems", "cuffed hems"),
        "frayed": _say("frayed hems; raw frayed hems", "frayed hems"),
        "elastic": _say("elastic leg hems; gathered elastic leg hems", "elastic leg hems"),
        "lace": _say("a lace hem; a hem trimmed with lace", "lace hem"),
    },
    "length": {
        "cropped": _say("a cropped length; a short cropped length", "cropped length"),
        "hip": _say("a hip length; a length to the hip", "hip length"),
        "longline": _say("a longline length; an extended longline cut", "longline cut"),
        "ankle": _say("an ankle length; a length to the ankle", "ankle length"),
        "full": _say("a full length; a full-length leg", "full length"),
        "micro": _say("a micro length; a very short micro length", "micro length"),
        "mid-thigh": _say("a mid-thigh length; a length to mid-thigh", "mid-thigh length"),
        "knee": _say("a knee length; a length to the knee", "knee length"),
        "mini": _say("a mini length; a short mini length", "mini length"),
        "midi": _say("a midi length; a mid-calf midi length", "midi length"),
        "maxi": _say("a maxi length; a long maxi length", "maxi length"),
    },
    "side": {
        "plain": _say("plain side seams; clean side seams", "plain side seams", "a plain seam; a clean seam"),
        "slit": _say("a slit | at the side; a side slit", "side slit", "a slit; a seam slit"),
        "stripe": _say("a stripe | down the side; a side stripe", "side stripe", "a stripe; a long stripe"),
        "zipper": _say("a zipper | along the side; a side zipper", "side zipper", "a zipper; an exposed zipper"),
        "lacing": _say("lacing | along the side; decorative lacing | at the side", "side lacing"),
        "snap buttons": _say("snap buttons | down the side; a row of snap buttons | at the side", "side snap buttons"),
        "cargo pocket": _say("a cargo pocket | at the side; a roomy cargo pocket | on the side", "side cargo pocket"),
    },
    "waist": {
        "flat band": _say("a flat waistband; a smooth flat waistband", "flat waistband"),
        "elastic": _say("an elastic waist; a gathered elastic waist", "elastic waist"),
        "drawstring": _say("a drawstring waist; a waist with a drawstring", "drawstring waist"),
        "belt": _say("a belted waist; a belt at the waist", "belted waist"),
        "paperbag": _say("a paperbag waist; a gathered paperbag waist", "paperbag waist"),
    },
    "front pockets": {
        "none": _say("no front pockets; a front without pockets", "no front pockets", "no pockets"),
        "slash": _say("slash pockets | at the front; angled slash pockets | at the front", "front slash pockets"),
        "patch": _say("patch pockets | at the front; sewn-on patch pockets | at the front", "front patch pockets"),
        "zip": _say("zip pockets | at the front; zippered pockets | at the front", "front zip pockets"),
    },
    "back pockets": {
        "none": _say("no back pockets; a back without pockets", "no back pockets", "no pockets"),
        "two patch": _say(
            "two patch pockets | at the back; a pair of patch pockets | on the back", "two back patch pockets"
        ),
        "two flap": _say(
            "two flap pockets | at the back; a pair of flap pockets | on the back", "two back flap pockets"
        ),
        "two welt": _say(
            "two welt pockets | at the back; a pair of welt pockets | on the back", "two back welt pockets"
        ),
        "left patch": _say(
            "a back patch pocket on the wearer's left; a single back patch pocket on the wearer's left",
            "left back patch pocket",
            "a patch pocket on the wearer's left",
        ),
        "right patch": _say(
            "a back patch pocket on the wearer's right; a single back patch pocket on the wearer's right",
            "right back patch pocket",
            "a patch pocket on the wearer's right",
        ),
    },
    "back waist": {
        "plain": _say("a plain back waist; a plain waistband at the back", "plain back waist", "a plain waistband"),
        "v yoke": _say("a V-shaped yoke | below the back waist; a V yoke | at the back waist", "back V yoke"),
        "gathered": _say(
            "a gathered back waist; a waist | gathered at the back", "gathered back waist", "a gathered waist"
        ),
        "tie": _say("a tie | at the back waist; a tie fastened | at the back waist", "back waist tie", "a waist tie"),
        "buckle tab": _say(
            "a buckle tab | at the back waist; a small buckle tab | at the back waist", "back buckle tab"
        ),
    },
    "leg": {
        "skinny": _say("skinny legs; close skinny legs", "skinny legs"),
        "straight": _say("straight legs; straight-cut legs", "straight legs"),
        "tapered": _say("tapered legs; legs that are tapered to the hem", "tapered legs"),
        "wide": _say("wide legs; roomy wide legs", "wide legs"),
        "flared": _say("flared legs; legs that are flared at the hem", "flared legs"),
    },
    "knees": {
        "plain": _say("plain knees; intact plain knees", "plain knees"),
        "left rip": _say("a rip at the wearer's left knee; a rip on the wearer's left knee", "left knee rip"),
        "right rip": _say("a rip at the wearer's right knee; a rip on the wearer's right knee", "right knee rip"),
        "both ripped": _say("rips at both knees; rips on both knees", "rips on both knees"),
        "panels": _say("knee panels; reinforcing knee panels", "knee panels"),
    },
    "skirt": {
        "pencil": _say("a pencil silhouette; a narrow pencil shape", "pencil shape"),
        "a-line": _say("an A-line silhouette; an A-line shape", "A-line shape"),
        "pleated": _say("a pleated silhouette; a pleated shape", "pleated shape"),
        "tiered": _say("a tiered silhouette; a layered tiered shape", "tiered shape"),
    },
    "slit": {
        "none": _say("no front slit; a front without a slit", "no front slit", "no slit"),
        "left": _say(
            "a front slit on the wearer's left; a slit on the wearer's left | at the front", "left front slit"
        ),
        "right": _say(
            "a front slit on the wearer's right; a slit on the wearer's right | at the front", "right front slit"
        ),
        "center": _say("a center slit | at the front; a front slit in the center", "center front slit"),
    },
    "stitching": {
        "tonal": _say("tonal stitching; discreet tonal stitching", "tonal stitching"),
        "white": _say("white stitching; visible white stitching", "white stitching"),
        "gold": _say("gold stitching; visible gold stitching", "gold stitching"),
    },
    "hardware": {
        "black": _say("black hardware; matte black hardware", "black hardware"),
        "silver": _say("silver hardware; bright silver hardware", "silver hardware"),
        "brass": _say("brass hardware; warm brass hardware", "brass hardware"),
        "wooden": _say("wooden hardware; natural wooden hardware", "wooden hardware"),
    },
}
"""Phrases by attribute and value."""

_PLURAL_PLAN = "pants"
_NUMBER = {
    "This": "These",
    "this": "these",
    "is": "are",
    "has": "have",
    "its": "their",
    "it": "them",
    "one": "ones",
    "combines": "combine",
    "brings": "bring",
    "offers": "offer",
}


def choose(kind: str, attribute: str, value: str, rng: Random, accent: str | None = None) -> str:
    """One phrase of a kind (full, bare, compact); the slot of a pattern takes the accent, or closes."""
    options: tuple[str, ...] = getattr(PHRASES[attribute][value], kind)
    return fill_slot(rng.choice(options), accent)


def fill_slot(phrase: str, accent: str | None) -> str:
    """A pattern phrase with its color, or without any."""
    return phrase.replace(SLOT, f"{accent} " if accent else "")


def definite(phrase: str) -> str:
    """The phrase with a definite article: the crew neckline, the long sleeves."""
    return f"the {strip_article(phrase)}"


def strip_article(phrase: str) -> str:
    """The phrase without its indefinite article."""
    return re.sub(r"^an? ", "", phrase)


def join(phrases: Sequence[str], last: str = "and") -> str:
    """A list in words: a, b and c."""
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} {last} {phrases[-1]}"


def sentence(text: str) -> str:
    """The text with a capital, right articles and a final stop."""
    text = articles(text.strip())
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


def articles(text: str) -> str:
    """The text with `an` before vowels and `a` before consonants."""
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:uni|use|one|eu|U))", r"\1n ", text)
    return re.sub(r"\b([Aa])n (?![aeiouAEIOU])", r"\1 ", text)


def count_words(text: str) -> int:
    """Words as they are counted for the length limits: pieces between spaces."""
    return len(text.split())


def is_plural(group: Group) -> bool:
    """Whether the group's noun is a plural: jeans, trousers, shorts."""
    return group.plan == _PLURAL_PLAN


def number_words(group: Group) -> dict[str, str]:
    """Words that follow the number of the group's noun, by their singular."""
    plural = is_plural(group)
    return {singular: other if plural else singular for singular, other in _NUMBER.items()} | {"noun": group.noun}


def agree(text: str, group: Group) -> str:
    """The text with `them` for `it` after orders, where the group's noun is a plural."""
    return (
        re.sub(r"\b(give|make|recolor|about) it\b", r"\1 them", text, flags=re.IGNORECASE) if is_plural(group) else text
    )


def possessive(group: Group) -> str:
    """Whose garment it is: women's or men's."""
    return f"{group.gender}'s"
