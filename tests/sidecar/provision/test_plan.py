"""The plan of a site: what it may say, and one sentence for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from evcharge.sidecar.provision.plan import FILE_BYTES, BadPlan, load_plan
from evcharge.sidecar.web.scopes import ROLES, Scope

ROOT = Path(__file__).parents[3]


def load(tmp_path: Path, text: str) -> object:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    return load_plan(file)


def test_the_plan_of_compose_is_one() -> None:
    plan = load_plan(ROOT / "deploy" / "compose" / "plan.toml")
    assert plan.charge_points == [f"CP-{number}" for number in range(1, 7)]
    assert plan.accounts["admin"].wanted == ROLES["admin"]
    assert plan.certificates["sidecar"].names == ["sidecar"]


def test_role_and_scopes_add_up(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('url = "https://s"\n[accounts.desk]\nrole = "viewer"\nscopes = ["audit:read"]\n')
    assert load_plan(file).accounts["desk"].wanted == ROLES["viewer"] | {Scope.AUDIT_READ}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "url"),
        ('url = "sidecar"', "url"),
        ('url = "https://a/b"', "url"),
        ("url = [", "is not TOML"),
        ('url = "https://s"\ncharge_point = ["CP-1"]', "charge_point"),
        ('url = "https://s"\ncharge_points = ["a b"]', "'a b' is no id"),
        ('url = "https://s"\ncharge_points = ["CP-1", "CP-1"]', "stands there twice"),
        ('url = "https://s"\ncharge_points = ["CP-1", "cp-1"]', "too alike"),
        ('url = "https://s"\ndrivers = ["a.b", "a:b"]', "too alike"),
        ('url = "https://s"\n[accounts]\n"a.b" = {role = "viewer"}\na_b = {role = "viewer"}', "too alike"),
        ('url = "https://s"\ngateways = ["sidecar"]', "the sidecar's own"),
        ('url = "https://s"\npasswords = ["../x"]', "is no name"),
        ('url = "https://s"\npasswords = ["x", "x"]', "twice"),
        ('url = "https://s"\n[accounts.operator]\nrole = "admin"', "none of operator"),
        ('url = "https://s"\n[accounts.Anna]\nrole = "admin"', "a name has"),
        ('url = "https://s"\n[accounts.anna]\nrole = "boss"', "none of admin"),
        ('url = "https://s"\n[accounts.anna]', "give it a role"),
        ('url = "https://s"\n[accounts.anna]\nscopes = ["registry:service"]', "Central's own"),
        ('url = "https://s"\n[accounts.anna]\nscopes = ["charge"]', "needs a driver"),
        ('url = "https://s"\n[accounts.anna]\nscopes = ["nonsense"]', "accounts"),
        ('url = "https://s"\n[accounts.anna]\nrole = "driver"\ndriver = "a b"', "is no id"),
        ('url = "https://s"\n[certificates.a]\nnames = []', "names"),
        ('url = "https://s"\n[certificates.a]\nnames = ["a/b"]', "is no host name"),
        ('url = "https://s"\n[certificates.a]\nnames = ["Host"]', "small letters"),
        ('url = "https://s"\n[certificates.a]\nnames = ["fe80::1%eth0"]', "no address"),
        (f'url = "https://s"\n[authority]\nname = "{"ü" * 33}"', "longer than 64 bytes"),
        ('url = "https://s"\n[certificates."a/b"]\nnames = ["a"]', "is no name"),
        ('url = "https://s"\n[certificates.a]\nnames = ["a"]\ndays = 398', "days"),
        ("#" * (FILE_BYTES + 1), "is larger than"),
    ],
)
def test_what_a_plan_may_not_say(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadPlan) as refused:
        load(tmp_path, text)
    assert why in str(refused.value)
    assert str(tmp_path / "plan.toml") in str(refused.value)
