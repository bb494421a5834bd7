"""Small pictures for docs/performance.md: horizontal bars, as SVG. Colours and text are in the
middle between black and white, so that they can be read on either.
"""

from xml.sax.saxutils import escape

COLOURS = ("#2f81f7", "#d9822b", "#8a63d2", "#3fa35c", "#c9536f")
GREY = "#808890"
FONT = "font-family=\"sans-serif\" font-size=\"12\""
LEFT, WIDTH, RIGHT, BAR, GAP, TOP = 310, 400, 110, 13, 10, 50


def text(x, y, words, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{GREY}" {FONT} text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def rectangle(x, y, width, height, colour):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}"/>')


def line(x1, y1, x2, y2, dash=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GREY}"'
            f'{dash and " stroke-dasharray=" + chr(34) + dash + chr(34)}/>')


def bars(title, groups, label, mark=None):
    """groups: (name, [(series, value, (low, high) or None), ...]); label(value) is what stands
    behind a bar; mark, a value with a line of its own."""
    series = list(dict.fromkeys(name for _, some in groups for name, _, _ in some))
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(series)}
    most = max([value for _, some in groups for _, value, _ in some] + [mark or 0]) or 1
    scale, y, parts = WIDTH / most, TOP, [text(8, 20, title, weight="bold")]
    x = 8
    for name in series if len(series) > 1 else ():
        parts += [rectangle(x, 28, 10, 10, colour[name]), text(x + 14, 37, name)]
        x += 30 + 7 * len(name)
    for group, some in groups:
        parts.append(text(LEFT - 8, y + BAR * len(some) / 2 + 4, group, "end"))
        for name, value, sure in some:
            parts.append(rectangle(LEFT, y + 1, max(value * scale, 1), BAR - 2, colour[name]))
            end = value
            if sure:
                middle, end = y + BAR / 2, max(value, min(sure[1], most))
                parts.append(line(LEFT + sure[0] * scale, middle, LEFT + end * scale, middle))
            parts.append(text(LEFT + end * scale + 5, y + BAR - 2, label(value)))
            y += BAR
        y += GAP
    if mark is not None:
        parts.append(line(LEFT + mark * scale, TOP - 4, LEFT + mark * scale, y - GAP + 4, "3 3"))
    parts.append(line(LEFT, TOP - 4, LEFT, y - GAP + 4))
    width = LEFT + WIDTH + RIGHT
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
            f'viewBox="0 0 {width} {y}">\n' + "\n".join(parts) + "\n</svg>\n")
