"""Light and dark, as Streamlit settings. Components read the same colours as CSS variables."""

from __future__ import annotations

from typing import Any

_SHARED = {
    "baseRadius": "8px",
    "buttonRadius": "8px",
    "baseFontSize": 15,
    "showSidebarBorder": True,
    "headingFontSizes": ["1.7rem", "1.3rem", "1.1rem", "1rem", "0.9rem", "0.85rem"],
    "headingFontWeights": [650, 650, 600, 600, 600, 600],
    "metricValueFontSize": "1.5rem",
    "metricValueFontWeight": 600,
    "codeFontSize": "13px",
    "paddingTop": "1.2rem",
    "paddingBottom": "3rem",
}

_LIGHT = {
    "primaryColor": "#3b5bdb",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f5f6f9",
    "codeBackgroundColor": "#f5f6f9",
    "codeTextColor": "#1f2430",
    "textColor": "#1f2430",
    "linkColor": "#3451c6",
    "borderColor": "#dfe2ea",
    "redColor": "#d6336c",
    "orangeColor": "#e8710a",
    "yellowColor": "#d9a406",
    "greenColor": "#2b8a3e",
    "blueColor": "#3b5bdb",
    "violetColor": "#7048e8",
    "grayColor": "#868e9c",
    "redTextColor": "#b3244f",
    "redBackgroundColor": "#fdeef3",
    "orangeTextColor": "#a64b00",
    "orangeBackgroundColor": "#fff3e4",
    "greenTextColor": "#1f6e30",
    "greenBackgroundColor": "#e9f7ec",
    "blueTextColor": "#3048b8",
    "blueBackgroundColor": "#ebf0ff",
    "violetTextColor": "#5b34c9",
    "violetBackgroundColor": "#f1ecff",
    "grayTextColor": "#5f6775",
    "grayBackgroundColor": "#eef0f4",
    "dataframeBorderColor": "#dfe2ea",
    "dataframeHeaderBackgroundColor": "#f5f6f9",
    "dataframeHeaderTextColor": "#5f6775",
    "chartCategoricalColors": [
        "#3b5bdb", "#e8710a", "#2b8a3e", "#ae3ec9", "#0c8599", "#d6336c", "#868e9c",
    ],
}  # fmt: skip

_DARK = {
    "primaryColor": "#4c6ef5",
    "backgroundColor": "#12151c",
    "secondaryBackgroundColor": "#1a1e27",
    "codeBackgroundColor": "#1a1e27",
    "codeTextColor": "#e3e6ed",
    "textColor": "#e3e6ed",
    "linkColor": "#91a7ff",
    "borderColor": "#2c323e",
    "redColor": "#f783ac",
    "orangeColor": "#ffa94d",
    "yellowColor": "#ffd43b",
    "greenColor": "#69db7c",
    "blueColor": "#748ffc",
    "violetColor": "#b197fc",
    "grayColor": "#868e9c",
    "redTextColor": "#faa2c1",
    "redBackgroundColor": "#3a1b29",
    "orangeTextColor": "#ffc078",
    "orangeBackgroundColor": "#35260f",
    "greenTextColor": "#8ce99a",
    "greenBackgroundColor": "#15301c",
    "blueTextColor": "#a5b8ff",
    "blueBackgroundColor": "#1c2647",
    "violetTextColor": "#c9b6ff",
    "violetBackgroundColor": "#2a2145",
    "grayTextColor": "#a3abb9",
    "grayBackgroundColor": "#262b36",
    "dataframeBorderColor": "#2c323e",
    "dataframeHeaderBackgroundColor": "#1a1e27",
    "dataframeHeaderTextColor": "#a3abb9",
    "chartCategoricalColors": [
        "#748ffc", "#ffa94d", "#69db7c", "#e599f7", "#3bc9db", "#f783ac", "#a3abb9",
    ],
}  # fmt: skip

THEME: dict[str, Any] = {
    **{f"theme.{name}": value for name, value in _SHARED.items()},
    **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
    **{f"theme.dark.{name}": value for name, value in _DARK.items()},
    "theme.light.sidebar.backgroundColor": "#f5f6f9",
    "theme.light.sidebar.secondaryBackgroundColor": "#e9ecf2",
    "theme.dark.sidebar.backgroundColor": "#0d1016",
    "theme.dark.sidebar.secondaryBackgroundColor": "#1a1e27",
}


def chart_colors(kind: str | None) -> list[str]:
    """The categorical colours of a chart, `light` or `dark`."""
    colors = _DARK if kind == "dark" else _LIGHT
    return list(colors["chartCategoricalColors"])
