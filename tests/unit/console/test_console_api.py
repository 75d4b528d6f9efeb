import base64
import csv
import io
import zlib

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from console.png import DIE_PALETTE, encode_png
from tests.console_events import ACTION_ID, ALERT_ID, SITE, ring_grid
from tests.factories import NOON_MS

WAFER = "L0001.02"  # the first bad one


def problem(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert "Traceback" not in answer.text
    return body["detail"]


def test_alerts_are_listed_with_their_action(looking):
    page = looking.get("/api/v1/alerts").json()
    assert page["total"] == 1
    (alert,) = page["items"]
    assert alert["alert_id"] == ALERT_ID
    assert (alert["state"], alert["severity"]) == ("new", "high")
    assert alert["action"]["action_id"] == ACTION_ID
    assert alert["headline"].startswith("Edge-Ring on")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=etch-04", 1), ("q=scratch", 0), ("q=%25", 0), ("severity=high", 1),
        ("severity=low", 0), ("module=ETCH-04/B", 1), ("state=resolved", 0), ("state=all", 1),
        ("site=kr1", 1), ("site=us9", 0), ("offset=1", 1),
    ],
)  # fmt: skip
def test_alerts_can_be_filtered(looking, query, found):
    assert looking.get(f"/api/v1/alerts?{query}").json()["total"] == found


def test_an_alert_has_its_evidence(looking):
    alert = looking.get(f"/api/v1/alerts/{ALERT_ID}").json()
    assert alert["commonalities"][0]["value"] == "ETCH-04/B"
    assert alert["shifts"][0]["variable"] == "rf_reflected_w"
    assert [entry["what"] for entry in alert["timeline"]] == [
        "alert.open", "alert.open", "action.proposed",
    ]  # fmt: skip
    korean = looking.get(f"/api/v1/alerts/{ALERT_ID}?lang=ko").json()
    assert "웨이퍼" in korean["headline"]


def test_the_suspects_trace_leaves_the_normal_band(looking):
    traces = looking.get(f"/api/v1/alerts/{ALERT_ID}/traces").json()
    assert traces["normal_modules"] == ["ETCH-04/A", "ETCH-04/C"]
    assert traces["seconds"][-1] == pytest.approx(59.5)
    assert traces["recipe_steps"] == [
        {"number": 1, "from_s": 0.0}, {"number": 2, "from_s": 10.0}, {"number": 3, "from_s": 50.0},
    ]  # fmt: skip
    first, second = traces["bands"][:2]
    assert (first["variable"], second["variable"]) == ("rf_reflected_w", "pressure_pa")
    assert min(first["suspect"][60:]) > max(first["high"])
    inside = [
        low <= value <= high
        for value, low, high in zip(first["suspect"], first["low"], first["high"], strict=True)
    ]
    assert sum(inside[:30]) > 20


def test_the_stacked_map_shows_the_ring_on_affected_wafers_alone(looking):
    stacks = looking.get(f"/api/v1/alerts/{ALERT_ID}/stacks").json()
    assert stacks["affected"]["wafers"] == 17
    assert stacks["affected"]["peak"] > 0.8 > 0.5 > stacks["unaffected"]["peak"]
    image = np.frombuffer(base64.b64decode(stacks["affected"]["pixels"]["data"]), np.uint8)
    image = image.reshape(64, 64)
    assert image[0, 0] == 0
    assert image[2:4, 30:34].mean() > 4 * image[28:36, 28:36].mean()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 50), ("pattern=Edge-Ring", 17), ("pattern=any", 17), ("pattern=None", 33),
        ("pattern=Ring", 0), ("lot=L0002", 25), ("product=DRAM-1b", 50), ("product=X", 0),
        ("module=ETCH-04/B", 17), ("min_probability=0.99", 0), ("max_probability=0.5", 0),
        (f"from_ms={NOON_MS}&to_ms={NOON_MS}", 0), ("q=l0001.1", 10), ("site=us9", 0),
    ],
)  # fmt: skip
def test_wafers_can_be_filtered(looking, query, found):
    assert looking.get(f"/api/v1/wafers?{query}&limit=5").json()["total"] == found


def test_a_wafer_has_its_history_and_its_like(looking):
    wafer = looking.get(f"/api/v1/wafers/{SITE}/{WAFER}").json()
    assert [step["module"] for step in wafer["steps"]] == ["CVD-02/A", "ETCH-04/B", "WET-01/A"]
    assert wafer["steps"][0]["completed_ms"] - wafer["steps"][0]["started_ms"] == 90_000
    assert wafer["provider"] == "CPUExecutionProvider"
    assert {one["pattern"] for one in wafer["similar"]} == {"Edge-Ring"}
    assert wafer["similar"][0]["similarity"] >= wafer["similar"][-1]["similarity"] > 0.5


def test_maps_come_as_bytes_in_the_order_asked_for(looking):
    query = "&".join(f"wafer={SITE}/{name}" for name in ("L0001.01", WAFER, "nobody"))
    first, second = looking.get(f"/api/v1/maps?{query}").json()
    assert (first["substrate_id"], second["substrate_id"]) == ("L0001.01", WAFER)
    grid = np.frombuffer(base64.b64decode(second["grid"]["data"]), np.uint8).reshape(26, 26)
    assert np.array_equal(grid, ring_grid(1))
    assert second["heatmap"]["rows"] == 16


def test_a_map_as_png_has_one_pixel_a_die(looking):
    png = looking.get(f"/api/v1/wafers/{SITE}/{WAFER}/map.png")
    assert png.headers["content-type"] == "image/png"
    assert png.content == encode_png(ring_grid(1), DIE_PALETTE)
    start = png.content.index(b"IDAT") + 4
    lines = zlib.decompress(png.content[start : png.content.index(b"IEND") - 8])
    assert len(lines) == 26 * 27
    assert looking.get(f"/api/v1/wafers/{SITE}/{WAFER}/heatmap.png").status_code == 200


def test_a_decision_by_post(client):
    url = f"/api/v1/alerts/{ALERT_ID}/decisions"
    done = client.post(url, json={"decision": "acknowledge", "by": " kim "})
    assert (done.json()["state"], done.json()["decided_by"]) == ("acknowledged", "kim")
    assert "acknowledged already (by kim)" in problem(
        client.post(url, json={"decision": "acknowledge", "by": "lee"}), 409
    )
    url = f"/api/v1/actions/{ACTION_ID}/decisions"
    done = client.post(url, json={"decision": "approve", "by": "kim", "comment": "go"})
    assert done.json()["status"] == "approved"
    problem(client.post(url, json={"decision": "reject", "by": "kim", "comment": "no"}), 409)
    assert [line["what"] for line in client.get("/api/v1/audit").json()["items"]] == [
        "action.approved", "alert.acknowledged",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (f"/api/v1/actions/{ACTION_ID}/decisions", {"decision": "reject", "by": "kim"}),
        (f"/api/v1/actions/{ACTION_ID}/decisions", {"decision": "approve", "by": "  "}),
        (f"/api/v1/actions/{ACTION_ID}/decisions", {"decision": "maybe", "by": "kim"}),
        (f"/api/v1/actions/{ACTION_ID}/decisions", {"decision": "approve", "by": "k", "x": 1}),
        (f"/api/v1/alerts/{ALERT_ID}/decisions", {"decision": "shelve", "by": "kim", "hours": 1}),
        (f"/api/v1/alerts/{ALERT_ID}/decisions",
         {"decision": "shelve", "by": "kim", "hours": 100, "comment": "c"}),
        (f"/api/v1/alerts/{ALERT_ID}/decisions", {"decision": "acknowledge"}),
        (f"/api/v1/alerts/{ALERT_ID}/decisions", {"decision": "acknowledge", "by": "k" * 99}),
    ],
)  # fmt: skip
def test_decisions_that_lack_something_are_refused(client, url, body):
    assert problem(client.post(url, json=body), 422)
    assert client.get("/api/v1/audit").json()["total"] == 0


@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/alerts?limit=0", "/api/v1/alerts?limit=501", "/api/v1/alerts?offset=-1",
        "/api/v1/alerts?severity=awful", "/api/v1/alerts?state=sad",
        f"/api/v1/alerts?q={'x' * 201}",
        "/api/v1/wafers?min_probability=1.5", "/api/v1/wafers?from_ms=yesterday",
        "/api/v1/wafers?min_probability=nan", "/api/v1/maps", "/api/v1/maps?wafer=nosite",
        "/api/v1/maps?" + "&".join(["wafer=a/b"] * 121), "/api/v1/export/users.csv",
        "/api/v1/equipment/levels?site=kr1", "/api/v1/events?after=-1",
    ],
)  # fmt: skip
def test_bad_queries_are_problems(looking, url):
    assert problem(looking.get(url), 422)


@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/alerts/none", "/api/v1/alerts/none/traces", f"/api/v1/wafers/{SITE}/none",
        f"/api/v1/wafers/{SITE}/none/map.png", f"/api/v1/wafers/{SITE}/{WAFER}/secret.png",
        "/api/v1/images/none", "/api/v1/nothing", "/static/../app.py", "/static/none.js",
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_problem(looking, url):
    assert problem(looking.get(url), 404)


def test_posts_that_are_no_decision(looking):
    url = f"/api/v1/alerts/{ALERT_ID}/decisions"
    problem(looking.post(url, content=b"{", headers={"content-type": "application/json"}), 422)
    problem(looking.post(url, content=b"x" * 70_000), 413)
    problem(looking.post(url, content=(b"x" * 1000 for _ in range(70))), 413)
    problem(looking.delete(url), 405)
    problem(looking.post("/api/v1/alerts/none/decisions",
                        json={"decision": "resolve", "by": "kim"}), 404)  # fmt: skip


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.7:8080", ""])
def test_foreign_names_are_not_answered(looking, host):
    for path in ("/", "/api/v1/alerts", "/static/main.js", "/healthz"):
        problem(looking.get(path, headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "console.fab"])
def test_our_own_names_are(client_of, full, host):
    with client_of(full, allowed_hosts=("console.fab",)) as client:
        assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"}, {"origin": "http://localhost:9999"}, {"origin": "null"},
    ],
)  # fmt: skip
def test_posts_from_other_pages_are_refused(client, headers):
    body = {"decision": "acknowledge", "by": "kim"}
    url = f"/api/v1/alerts/{ALERT_ID}/decisions"
    assert "own pages" in problem(client.post(url, json=body, headers=headers), 403)
    own = {"origin": "http://localhost:8080", "sec-fetch-site": "same-origin"}
    assert client.post(url, json=body, headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/strip", "/static/main.js", "/api/v1/nothing"])
def test_every_answer_has_the_security_headers(looking, path):
    headers = looking.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_the_strip_counts(looking):
    strip = looking.get("/api/v1/strip").json()
    assert strip["wafers"] == 50
    assert strip["last_wafer_s"] == 180
    assert (strip["alerts_open"], strip["alerts_per_hour"], strip["dead_letters"]) == (1, 1.0, 1)
    assert (strip["model"], strip["device"], strip["projector"]) == ("wafer-map v3", "cpu", "off")


def test_equipment_models_health_and_the_shift(looking):
    modules = {one["module"]: one for one in looking.get("/api/v1/equipment").json()}
    assert modules["ETCH-04/B"]["alert_id"] == ALERT_ID
    assert [span["state"] for span in modules["CVD-02/B"]["spans"]] == [
        "productive", "scheduled_down", "standby",
    ]  # fmt: skip
    assert modules["CVD-02/A"]["wafers"] == 50
    levels = looking.get(f"/api/v1/equipment/levels?site={SITE}&kind=etch").json()
    assert min(levels["rf_reflected_w"]["ETCH-04/B"]) > max(levels["rf_reflected_w"]["ETCH-04/A"])
    assert looking.get("/api/v1/models").json()[0]["metrics"] == {"macro_f1": 0.93}
    health = looking.get("/api/v1/health").json()
    assert (health["status"], health["versions"]["fabpilot"]) == ("warning", "0.1.0")
    shift = looking.get("/api/v1/shift").json()
    assert len(shift) == 16
    assert sum(point["wafers"] for point in shift) == 50
    assert all(85 < point["yield_percent"] < 95 for point in shift if point["wafers"] > 5)


@pytest.mark.parametrize(
    ("table", "rows"),
    [("alerts", 1), ("actions", 1), ("wafers", 125), ("equipment", 6), ("audit", 0),
     ("dead_letters", 1)],
)  # fmt: skip
def test_every_table_as_csv(looking, table, rows):
    answer = looking.get(f"/api/v1/export/{table}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"fabpilot-{table}.csv" in answer.headers["content-disposition"]
    parsed = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert len(parsed) == rows


def test_a_comment_that_is_a_formula_is_no_formula_in_the_csv(client):
    client.post(
        f"/api/v1/alerts/{ALERT_ID}/decisions",
        json={"decision": "acknowledge", "by": "kim", "comment": "=HYPERLINK(1)"},
    )
    (line,) = csv.DictReader(
        io.StringIO(client.get("/api/v1/export/audit.csv").content.decode("utf-8-sig"))
    )
    assert line["why"] == "'=HYPERLINK(1)"


def test_metrics_and_healthz(looking):
    text = looking.get("/metrics").text
    assert "fabpilot_console_wafers 50.0" in text
    assert "fabpilot_console_alerts_open 1.0" in text
    assert "fabpilot_console_last_wafer_seconds 180.0" in text
    assert looking.get("/healthz").text == "ok\n"


def test_openapi_names_every_type(looking):
    document = looking.get("/api/v1/openapi.json").json()
    assert {"AlertDetail", "WaferDetail", "TracesView", "Strip"} <= set(
        document["components"]["schemas"]
    )
    assert all(path.startswith("/api/v1/") for path in document["paths"])


def test_a_database_that_fails_is_a_503_without_its_words(client_of, full, monkeypatch):
    with client_of(full) as client:

        def fail(*_, **__):
            raise OperationalError("select secret from t", {}, Exception("disk I/O error"))

        monkeypatch.setattr("console.queries.alerts.list_alerts", fail)
        assert "secret" not in problem(client.get("/api/v1/alerts"), 503)


def test_a_bug_is_a_500_without_a_traceback(client_of, full, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("console.queries.alerts.list_alerts", fail)
    with client_of(full) as client:
        assert "secret" not in problem(client.get("/api/v1/alerts"), 500)


def test_pages_that_do_not_exist_are_told_to_people_as_pages(looking):
    for path in ("/alerts/none", f"/wafers/{SITE}/none", "/nowhere", "/?state=sad"):
        answer = looking.get(path, headers={"accept": "text/html"})
        assert 400 <= answer.status_code < 500
        assert answer.headers["content-type"].startswith("text/html")
        assert "<h1>" in answer.text
