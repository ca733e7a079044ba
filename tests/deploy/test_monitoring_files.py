"""Dashboard and alert rules against what the service really exposes, and against Prometheus' own parser."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from lit_rec.service.monitoring import Monitoring

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
RULES = DEPLOY / "prometheus" / "alerts.yml"
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_PROMETHEUS = {"up": {"instance"}}
TARGET_LABELS = {"job", "instance"}  # put on by the scraper
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}

SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{(?P<labels>[^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPING = re.compile(r"\bby \(([^)]*)\)")


def rules():
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return group["rules"]


def dashboard_expressions():
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return found + [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]


def exposed():
    """Every series name of /metrics, with its labels."""
    monitoring = Monitoring()
    text = monitoring.exposition().decode()
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    labels = {
        metric._name: set(metric._labelnames)
        for metric in vars(monitoring).values()
        if isinstance(metric, MetricWrapperBase)
    }
    return {
        name + suffix: of_metric | ({"le"} if suffix == "_bucket" else set())
        for name, of_metric in labels.items()
        for suffix in SUFFIXES[types[name]]
    }


EXPOSED = exposed()
RECORDED = {rule["record"]: set() for rule in rules() if "record" in rule}
KNOWN = {**EXPOSED, **RECORDED, **OF_PROMETHEUS}


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *(rule["expr"] for rule in rules())])
def test_every_metric_and_label_is_one_that_the_service_exposes(expression):
    selectors = list(SELECTOR.finditer(expression))
    recorded = [name for name in RECORDED if name in expression]
    assert selectors or recorded
    for selector in selectors:
        assert selector["name"] in KNOWN
        assert set(LABEL.findall(selector["labels"])) <= KNOWN[selector["name"]] | TARGET_LABELS
    grouped = {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")}
    assert grouped <= set().union(*(KNOWN[selector["name"]] for selector in selectors)) | TARGET_LABELS
    bare = re.sub(r'"[^"]*"', "", SELECTOR.sub("", expression))  # a metric without a selector would take others' too
    assert not [name for name in EXPOSED if re.search(rf"\b{name}\b", bare)]


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *(rule["expr"] for rule in rules())])
def test_only_this_services_series_are_taken(expression):
    for selector in SELECTOR.finditer(expression):
        assert re.search(r'job="(lit_rec|\$job)"', selector["labels"])


def test_nothing_that_is_exposed_is_left_unseen():
    text = " ".join([*dashboard_expressions(), *(rule["expr"] for rule in rules())])
    families = {name.removesuffix("_bucket") for name in EXPOSED if not name.endswith(("_sum", "_count"))}
    assert not [name for name in families if name not in text]


@pytest.mark.parametrize(
    "subject",
    [
        "recommendation_requests_total",
        "http_requests_total",
        "recommendation_latency_seconds",
        "recommendation_encode_seconds",
        'event_type="click"',
        "feedback_events_total",
        "model_loaded",
        "requests_refused_total",
        "requests_waiting",
    ],
)
def test_the_dashboard_shows(subject):
    assert any(subject in expression for expression in dashboard_expressions())


def test_panels_stand_beside_each_other_and_have_numbers_of_their_own():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart |= one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart


def test_queries_use_variables_that_the_dashboard_has():
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used <= variables | {"__rate_interval"}
    assert variables <= used


def test_every_alert_says_what_to_do_and_how_bad_it_is():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) > 5
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["do"].endswith(".")


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not():
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@pytest.fixture
def promtool(require):
    require(shutil.which("promtool"), "promtool: apt-get install prometheus")

    def run(*words):
        done = subprocess.run(
            ["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60, cwd=DEPLOY
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_promtool_takes_configuration_and_rules_and_their_unit_tests_hold(promtool):
    promtool("check", "config", "prometheus/prometheus.yml")
    promtool("check", "rules", "prometheus/alerts.yml")
    promtool("test", "rules", "prometheus/alerts_test.yml")


def test_promtool_takes_every_query_of_the_dashboard(promtool, tmp_path):
    expressions = [
        expression.replace("$__rate_interval", "1m").replace("$job", "lit_rec")
        for expression in dashboard_expressions()
    ]
    named = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": named}]}), encoding="utf-8")
    promtool("check", "rules", file)


def test_the_scraped_job_is_the_one_that_rules_and_dashboard_ask_for():
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert scrape["job_name"] == "lit_rec"
    (job,) = [variable for variable in DASHBOARD["templating"]["list"] if variable["name"] == "job"]
    assert job["current"]["value"] == "lit_rec"
