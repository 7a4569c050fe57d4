"""Shopify's export and Google Merchant feeds, in the layouts that these write."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procir.catalog.findings import Findings
from procir.catalog.sources.markup import plain_text
from procir.catalog.sources.merchant import merchant_offers
from procir.catalog.sources.shopify import shopify_offers
from procir.errors import ConfigError, MissingDataError, ProcirError, RecordError

HOST = ("cdn.shop.example",)
CDN = "https://cdn.shop.example/files"

SHOPIFY = f"""\
Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,\
Option2 Value,Variant SKU,Variant Price,Image Src,Image Position,Image Alt Text,Variant Image,Google Shopping / Gender
silk-dress,Silk dress,"<p>Soft <b>silk</b>.</p><ul><li>Zip</li></ul>",House,Apparel > Clothing > Dresses,,new,true,\
Size,S,Color,Navy,SD-1,89.00,{CDN}/b.jpg?v=2,2,Back view,,female
silk-dress,,,,,,,,,M,,Navy,SD-2,89.00,{CDN}/a.jpg?v=1,1,,,
silk-dress,,,,,,,,,S,,Red,SD-3,89.00,,,,{CDN}/red.jpg,
silk-dress,,,,,,,,,,,,,,{CDN}/c.jpg,,,,
plain-belt,Belt,,House,,Belts,,true,Title,Default Title,,,B-1,9.00,,,,,
,No handle,,,,,,,,,,,,,,,,,
"""


def shopify(path, findings=None, **more):
    return list(shopify_offers(path, "shop", Findings() if findings is None else findings, images=path.parent, **more))


def merchant(path, findings=None, **more):
    return list(merchant_offers(path, "shop", Findings() if findings is None else findings, images=path.parent, **more))


def names(offer) -> list[str]:
    return [photo.name for photo in offer.photos]


def test_shopify(tmp_path):
    path = tmp_path / "products_export.csv"
    path.write_text(SHOPIFY, encoding="utf-8")
    findings = Findings()
    dress, belt = shopify(path, findings, hosts=HOST)
    assert names(dress) == ["a.jpg", "b.jpg", "c.jpg", "red.jpg"]
    assert dress.captions == {"b.jpg": "Back view"}
    details = dress.details
    assert (details.title, details.category, details.gender) == ("Silk dress", "Dresses", "female")
    assert (details.colour, details.price, details.description) == ("Navy, Red", "89.00", "Soft silk. Zip")
    assert (belt.key.product_id, belt.details.category, belt.photos) == ("plain-belt", "Belts", ())
    assert findings.counts == {"rows without a handle": 1}


def test_shopify_refuses(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(SHOPIFY, encoding="utf-8")
    with pytest.raises(ConfigError, match="allow this host"):
        shopify(path)
    path.write_text(SHOPIFY.replace(",1,,,\n", ",first,,,\n"), encoding="utf-8")
    with pytest.raises(RecordError, match=r"x.csv:3: Image Position is 'first'"):
        shopify(path, hosts=HOST)
    path.write_text("id,image\n1,a.jpg\n", encoding="utf-8")
    with pytest.raises(RecordError, match="no columns Handle and Image Src"):
        shopify(path)


RSS = f"""<?xml version="1.0"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>
<title>Shop</title><link>https://shop.example</link>
<!-- a comment -->
<item>
  <g:id>SD-1-S</g:id><title>Silk dress &amp; belt</title><description>&lt;p&gt;Soft.&lt;/p&gt;</description>
  <link>https://shop.example/sd</link><g:image_link>{CDN}/a.jpg</g:image_link>
  <g:additional_image_link>{CDN}/b.jpg</g:additional_image_link>
  <g:additional_image_link>{CDN}/c.jpg</g:additional_image_link>
  <g:item_group_id>SD</g:item_group_id><g:color>Navy</g:color><g:size>S</g:size><g:price>89.00 EUR</g:price>
  <g:gender>female</g:gender><g:google_product_category>Apparel &gt; Clothing &gt; Dresses</g:google_product_category>
</item>
<item><g:id>SD-1-M</g:id><g:image_link>{CDN}/a.jpg</g:image_link><g:item_group_id>SD</g:item_group_id>
  <g:color>navy</g:color><g:size>M</g:size></item>
<item><g:id>SD-2-S</g:id><g:image_link>{CDN}/r.jpg</g:image_link><g:item_group_id>SD</g:item_group_id>
  <g:color>Red</g:color></item>
<item><g:image_link>{CDN}/x.jpg</g:image_link></item>
<item><g:id>bare</g:id></item>
</channel></rss>
"""


def test_merchant_rss(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(RSS, encoding="utf-8")
    findings = Findings()
    navy, red, bare = merchant(path, findings, hosts=HOST)
    assert (str(navy.key), names(navy)) == ("shop/SD-1-S", ["a.jpg", "b.jpg", "c.jpg"])
    details = navy.details
    assert (details.title, details.description, details.colour) == ("Silk dress & belt", "Soft.", "Navy")
    assert (details.price, details.gender, details.category) == ("89.00 EUR", "female", "Dresses")
    assert (details.url, navy.where) == ("https://shop.example/sd", f"{path}: item 1")
    assert (red.key.product_id, names(red), bare.photos) == ("SD-2-S", ["r.jpg"], ())
    assert findings.counts == {"items that are another size of a product": 1, "items without an id": 1}


def test_merchant_atom(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(
        '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><title>x</title><entry>'
        f'<g:id>1</g:id><title>Belt</title><link href="https://shop.example/1"/><g:image_link>{CDN}/a.jpg'
        "</g:image_link></entry></feed>",
        encoding="utf-8",
    )
    (belt,) = merchant(path, hosts=HOST)
    assert (belt.details.title, belt.details.url, names(belt)) == ("Belt", "https://shop.example/1", ["a.jpg"])


def test_merchant_table(tmp_path):
    path = tmp_path / "feed.txt"
    path.write_text(
        "id\ttitle\tlink\timage_link\tadditional_image_link\titem_group_id\tcolor\n"
        f"1\tBelt\thttps://shop.example/1\t{CDN}/a.jpg\t{CDN}/b.jpg,{CDN}/c%2Cd.jpg\tG\tred\n"
        f"2\tBelt\thttps://shop.example/2\t{CDN}/a.jpg\t\tG\tred\n",
        encoding="utf-8",
    )
    (belt,) = merchant(path, hosts=HOST)
    assert (belt.key.product_id, names(belt), belt.details.title) == ("1", ["a.jpg", "b.jpg", "c,d.jpg"], "Belt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RSS[:900], "after item 1: no plain XML"),
        (RSS[:-60], "after item 3: no plain XML"),
        ("<rss><channel></channel></rss>", "no item and no entry"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><rss><item>&b;</item></rss>', "no plain XML"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><rss/>', "no plain XML"),
        ('<?xml version="1.0" encoding="klingon"?><rss/>', "no plain XML"),
    ],
)
def test_feeds_that_are_refused(tmp_path, content, message):
    path = tmp_path / "feed.xml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=message):
        merchant(path, hosts=HOST)


def test_a_feed_that_is_not_there(tmp_path):
    with pytest.raises(MissingDataError, match="cannot be opened"):
        merchant(tmp_path / "feed.xml")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(RSS)), noise=st.binary(max_size=8), cut=st.integers(0, 30))
def test_any_feed_is_read_or_refused(tmp_path, at, noise, cut):
    path = tmp_path / "feed.xml"
    data = RSS.encode()
    path.write_bytes(data[:at] + noise + data[at + cut :])
    try:
        found = merchant(path, hosts=HOST)
    except ProcirError:
        return
    assert all(offer.key.product_id for offer in found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, len(SHOPIFY)), noise=st.binary(max_size=8), cut=st.integers(0, 30))
def test_any_export_is_read_or_refused(tmp_path, at, noise, cut):
    path = tmp_path / "x.csv"
    data = SHOPIFY.encode()
    path.write_bytes(data[:at] + noise + data[at + cut :])
    try:
        found = shopify(path, hosts=HOST)
    except ProcirError:
        return
    assert all(offer.key.product_id for offer in found)


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("<p>One</p><p>two &amp; three</p>", "One two & three"),
        ("plain  text\n", "plain text"),
        ("<style>p{}</style>a<br>b<script>x()</script>", "a b"),
        ("half<b>way</b>", "halfway"),
        ("<p>a</p><![x]b", "a"),
    ],
)
def test_words_of_html(html, words):
    assert plain_text(html) == words


@given(st.text())
def test_any_html_has_words(html):
    assert isinstance(plain_text(html), str)
