"""Verdicts as JUnit XML, which GitLab, Jenkins and the actions of GitHub show in a merge request."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from neuronctl.errors import Exit
from neuronctl.precompile.verdict import Verdict

# All that XML 1.0 cannot hold, not even escaped; lone surrogates stand for bytes that are no text.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdicts: Sequence[Verdict], took_s: float) -> bytes:
    """One suite with a case for each profile, by the name that the user gave it."""
    cases = [_case(verdict) for verdict in verdicts]
    counts = {
        f"{tag}s": str(sum(case.find(tag) is not None for case in cases)) for tag in ("failure", "error")
    }
    counts["skipped"] = str(sum(case.find("skipped") is not None for case in cases))
    about = {"name": "neuronctl compile", "tests": str(len(cases)), **counts, "time": f"{took_s:.3f}"}
    root = ET.Element("testsuites", about)
    ET.SubElement(root, "testsuite", about).extend(cases)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _case(verdict: Verdict) -> ET.Element:
    case = ET.Element("testcase", name=_text(verdict.reference), classname="neuronctl.compile")
    case.set("time", f"{verdict.took_s:.3f}")
    if verdict.outcome in ("not-tried", "stopped"):
        ET.SubElement(case, "skipped", message=verdict.outcome.replace("-", " "))
    elif not verdict.good:
        kind = "error" if verdict.exit_code is Exit.OUR_BUG else "failure"
        what = f"{verdict.outcome}, exit {int(verdict.exit_code or 0)}: {verdict.why}"
        code = verdict.troubles[0].code if verdict.troubles else verdict.outcome
        told = ET.SubElement(case, kind, message=_text(what), type=_text(code))
        told.text = _text("\n".join(verdict.explanation))
    return case


def _text(text: str) -> str:
    return _NO_XML.sub("?", text)
