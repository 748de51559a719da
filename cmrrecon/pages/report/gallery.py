"""The list of all scans with thumbnails and scores, worst first."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmrrecon.pages.page import Html, element, joined
from cmrrecon.pages.report.summary import Order, Read

METRICS = ("psnr", "ssim", "nmse")
TITLES = {"psnr": "PSNR", "ssim": "SSIM", "nmse": "NMSE"}
# Metrics whose large values are bad.
FALLING = ("nmse",)


def gallery(order: Order, detailed: Sequence[str], rule: str | None) -> Html:
    """Return a card for each scan.

    Parameters
    ----------
    order : Order
        The scans, worst first.
    detailed : sequence of str
        Numbers of the scans that the page shows in detail.
    rule : str or None
        The scoring rule; None without scores.
    """
    protocol = "no scores, because no references were given" if rule is None else f"protocol {rule}"
    options = [element("option", _capital(order.text), value="-1")]
    options += [
        element("option", name, value=i) for i, name in enumerate(orders(order.scans)["names"])
    ]

    controls = element(
        "div",
        element("label", "Order ", element("select", *options, id="order")),
        element("label", "Filter ", element("input", id="filter", type="search", size=18)),
        element("output", "", id="matches", class_="quiet"),
        class_="controls screen",
    )

    cards = [_card(read, read.case.number in detailed) for read in order.scans]
    return joined(
        [
            element("p", f"{_capital(order.text)}; {protocol}. Thumbnails show the middle frame."),
            controls,
            element("div", *cards, class_="cards", id="cards"),
        ]
    )


def orders(scans: Sequence[Read]) -> dict[str, Any]:
    """Return further orders of the cards: their names, and a value of each card, the worst lowest.

    Returns
    -------
    dict
        `names` and `values`; in `values` there is one list for each name, in the order of the
        scans, with None for scans without the value.
    """
    methods = sorted({method for read in scans for method in read.records})
    names = ["Number of the scan"]
    values: list[list[float | None]] = [[float(read.case.number) for read in scans]]

    for metric in METRICS:
        for method in methods:
            found = [_value(read.records.get(method, {}), metric) for read in scans]
            if any(value is not None for value in found):
                names.append(f"{TITLES[metric]} of {method}")
                values.append(found)
    return {"names": names, "values": values}


def score_text(record: Mapping[str, Any]) -> str:
    """Return the scores of a reconstruction, or its residual if it has no scores."""
    if record.get("psnr") is not None:
        psnr, ssim, nmse = (float(record[metric]) for metric in METRICS)
        return f"{psnr:.2f} dB, SSIM {ssim:.4f}, NMSE {nmse:.3g}"
    residual = record.get("residual")
    return "no score" if residual is None else f"residual {residual:.2f}"


def _card(read: Read, has_details: bool) -> Html:
    """Return the card of one scan."""
    case = read.case
    title: object = f"Scan {case.number}"
    if has_details:
        title = element("a", title, href=f"#scan-{case.number}")

    pictures = []
    for name in [*read.thumbnails, *(m for m in read.records if m not in read.thumbnails)]:
        record = read.records.get(name)
        scores = "" if record is None else score_text(record)
        caption = joined([name, Html("<br>"), scores])
        uri = read.thumbnails.get(name)
        alternative = f"{name} of scan {case.number}"
        image = element("span", "no image", class_="none")
        if uri is not None:
            image = element("img", src=uri, alt=alternative, decoding="async")
        pictures.append(element("figure", image, element("figcaption", caption)))

    return element(
        "article",
        element("h3", title, " ", element("span", case.label, class_="quiet")),
        element("div", *pictures, class_="thumbnails"),
        class_="card together",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _value(record: Mapping[str, Any], metric: str) -> float | None:
    """Return a score whose low values are bad, as JSON can express it."""
    if record.get(metric) is None:
        return None
    value = max(-1e300, min(1e300, float(record[metric])))
    return -value if metric in FALLING else value
