"""What levels and figures are called, on the screen and in the report."""

from disasym.evaluate.comparison import Compared
from disasym.evaluate.delong import DeLong
from disasym.metrics import Interval

LEVEL = {
    "side": "side abnormality (p_abnormal; one breast in one view)",
    "pair": "pair asymmetry (p_asymmetry; both breasts in one view)",
    "woman": "woman (p_abnormal of her worse breast, mean over its views)",
}
FIGURE = {
    "auc": "AUC",
    "average_precision": "average precision",
    "sensitivity_at_90": "sensitivity at 90 % specificity",
    "sensitivity_at_95": "sensitivity at 95 % specificity",
}
LESION = {"iou": "IoU", "ior": "IoR", "dice": "Dice", "mean_tiou": "mean TIoU", "mean_tior": "mean TIoR"}
MAP = {"map": "heat map alone", "shown": "regions as infer shows them"}
NO_EVIDENCE = "NO EVIDENCE of how good the model is on other women"
AS_SAID = (
    "Nothing that is written down says that the model knows these women. disasym cannot know what else it was trained"
    " on."
)


def test_of(found: DeLong | str) -> str:
    """DeLong's test in words."""
    if isinstance(found, str):
        return found
    reach = f"difference {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"p {p_value(found.p)} (z = {found.z:.2f}, {reach})"


def p_value(p: float) -> str:
    """Three decimals, and nothing below that."""
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def decimals(value: float | None) -> str:
    """Three of them, or a dash for nothing."""
    return "–" if value is None else f"{value:.3f}"


def gap_of(found: Interval | str) -> str:
    """A difference with its interval, signed."""
    return found if isinstance(found, str) else f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def assumption(compared: Compared) -> str:
    """What DeLong's test takes for granted and these entries do not give; "" where they do."""
    if compared.one_each:
        return ""
    return "DeLong's test takes entries for independent, but some women have several: trust the bootstrap over women"
