-- What commit 5742e6e made of a new database, and a row in every table.
CREATE TABLE outbox_counters (
	name VARCHAR(200) NOT NULL,
	last_seq BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	name VARCHAR(200) NOT NULL,
	seq BIGINT NOT NULL,
	topic VARCHAR(200) NOT NULL,
	"key" BLOB NOT NULL,
	headers BLOB NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (name, seq)
);
CREATE TABLE stream_offsets (
	name VARCHAR(200) NOT NULL,
	topic VARCHAR(200) NOT NULL,
	partition INTEGER NOT NULL,
	next_offset BIGINT NOT NULL,
	PRIMARY KEY (name, topic, partition)
);
CREATE TABLE stream_leases (
	name VARCHAR(200) NOT NULL,
	holder VARCHAR(32) NOT NULL,
	process VARCHAR(200) NOT NULL,
	expires_ms BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE controller_parts (
	site VARCHAR(32) NOT NULL,
	part VARCHAR(200) NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (site, part)
);
CREATE TABLE controller_state (
	site VARCHAR(32) NOT NULL,
	state BLOB NOT NULL,
	PRIMARY KEY (site)
);
CREATE TABLE console_risks (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	sequence INTEGER NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	lot_id VARCHAR(200) NOT NULL,
	slot INTEGER NOT NULL,
	time_ms BIGINT NOT NULL,
	step VARCHAR(100) NOT NULL,
	any_pattern FLOAT NOT NULL,
	expected_loss FLOAT NOT NULL,
	pattern VARCHAR(100) NOT NULL,
	probabilities TEXT NOT NULL,
	suspects TEXT NOT NULL,
	PRIMARY KEY (site, substrate_id, sequence)
);
CREATE INDEX console_risks_time ON console_risks (site, time_ms);
CREATE INDEX console_risks_lot ON console_risks (site, lot_id, sequence);
CREATE TABLE console_wafer_risks (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	sequence INTEGER NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	lot_id VARCHAR(200) NOT NULL,
	slot INTEGER NOT NULL,
	time_ms BIGINT NOT NULL,
	step VARCHAR(100) NOT NULL,
	any_pattern FLOAT NOT NULL,
	expected_loss FLOAT NOT NULL,
	pattern VARCHAR(100) NOT NULL,
	probabilities TEXT NOT NULL,
	suspects TEXT NOT NULL,
	PRIMARY KEY (site, substrate_id)
);
CREATE INDEX console_wafer_risks_lot ON console_wafer_risks (site, lot_id);
CREATE TABLE console_charts (
	site VARCHAR(32) NOT NULL,
	chart_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	chart VARCHAR(32) NOT NULL,
	module VARCHAR(200) NOT NULL,
	step VARCHAR(100) NOT NULL,
	recipe_id VARCHAR(200) NOT NULL,
	parameter VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	value FLOAT NOT NULL,
	center FLOAT NOT NULL,
	lower FLOAT,
	upper FLOAT,
	sigma FLOAT NOT NULL,
	rules TEXT NOT NULL,
	phase INTEGER NOT NULL,
	points INTEGER NOT NULL,
	contributions TEXT NOT NULL,
	enabled TEXT NOT NULL,
	arl0 FLOAT,
	arl1 FLOAT,
	cp FLOAT,
	cpk FLOAT,
	cpk_low FLOAT,
	cpk_high FLOAT,
	out_ms BIGINT NOT NULL,
	PRIMARY KEY (site, chart_id)
);
CREATE INDEX console_charts_module ON console_charts (site, module);
CREATE INDEX console_charts_time ON console_charts (time_ms);
CREATE TABLE console_chart_points (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	chart_id VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	value FLOAT NOT NULL,
	center FLOAT NOT NULL,
	lower FLOAT,
	upper FLOAT,
	sigma FLOAT NOT NULL,
	rules TEXT NOT NULL,
	phase INTEGER NOT NULL,
	points INTEGER NOT NULL,
	contributions TEXT NOT NULL,
	lot_id VARCHAR(200) NOT NULL,
	substrates TEXT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_chart_points_chart ON console_chart_points (site, chart_id, time_ms, event_id);
CREATE INDEX console_chart_points_time ON console_chart_points (time_ms);
CREATE TABLE console_virtual_metrology (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	module VARCHAR(200) NOT NULL,
	recipe_id VARCHAR(200) NOT NULL,
	step VARCHAR(100) NOT NULL,
	parameter VARCHAR(100) NOT NULL,
	lot_id VARCHAR(200) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	predicted FLOAT NOT NULL,
	low FLOAT NOT NULL,
	high FLOAT NOT NULL,
	coverage FLOAT NOT NULL,
	unlike INTEGER NOT NULL,
	learned INTEGER NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_virtual_time ON console_virtual_metrology (time_ms);
CREATE INDEX console_virtual_place ON console_virtual_metrology (site, module, step, parameter, time_ms);
CREATE INDEX console_virtual_wafer ON console_virtual_metrology (site, substrate_id);
CREATE TABLE console_r2r_threads (
	site VARCHAR(32) NOT NULL,
	thread VARCHAR(600) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	product VARCHAR(200) NOT NULL,
	module VARCHAR(200) NOT NULL,
	recipe_id VARCHAR(200) NOT NULL,
	step VARCHAR(100) NOT NULL,
	output VARCHAR(100) NOT NULL,
	parameter VARCHAR(100) NOT NULL,
	time_ms BIGINT NOT NULL,
	target FLOAT NOT NULL,
	measured FLOAT NOT NULL,
	"virtual" INTEGER NOT NULL,
	disturbance FLOAT NOT NULL,
	drift FLOAT NOT NULL,
	set_point FLOAT NOT NULL,
	recommended FLOAT NOT NULL,
	gain FLOAT NOT NULL,
	gain_ratio FLOAT,
	weight FLOAT NOT NULL,
	runs INTEGER NOT NULL,
	status VARCHAR(16) NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (site, thread)
);
CREATE INDEX console_r2r_threads_time ON console_r2r_threads (time_ms);
CREATE TABLE console_r2r_runs (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	thread VARCHAR(600) NOT NULL,
	time_ms BIGINT NOT NULL,
	target FLOAT NOT NULL,
	measured FLOAT NOT NULL,
	"virtual" INTEGER NOT NULL,
	disturbance FLOAT NOT NULL,
	drift FLOAT NOT NULL,
	set_point FLOAT NOT NULL,
	recommended FLOAT NOT NULL,
	gain FLOAT NOT NULL,
	gain_ratio FLOAT,
	weight FLOAT NOT NULL,
	runs INTEGER NOT NULL,
	status VARCHAR(16) NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_r2r_runs_time ON console_r2r_runs (time_ms);
CREATE INDEX console_r2r_runs_thread ON console_r2r_runs (site, thread, time_ms, event_id);
CREATE TABLE console_effects (
	action_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	verdict VARCHAR(16) NOT NULL,
	measure TEXT NOT NULL,
	"before" FLOAT NOT NULL,
	"after" FLOAT NOT NULL,
	wafers INTEGER NOT NULL,
	consequence VARCHAR(16) NOT NULL,
	evidence TEXT NOT NULL,
	PRIMARY KEY (action_id)
);
CREATE TABLE console_automation (
	site VARCHAR(32) NOT NULL,
	automatic INTEGER NOT NULL,
	"by" VARCHAR(200) NOT NULL,
	reason TEXT NOT NULL,
	time_ms BIGINT NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (site)
);
CREATE TABLE console_counters (
	name VARCHAR(32) NOT NULL,
	value BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE console_changes (
	id INTEGER NOT NULL,
	topic VARCHAR(16) NOT NULL,
	subject VARCHAR(200) NOT NULL,
	PRIMARY KEY (id)
);
CREATE TABLE console_site_clocks (
	site VARCHAR(32) NOT NULL,
	fab_ms BIGINT NOT NULL,
	wall_ms BIGINT NOT NULL,
	PRIMARY KEY (site)
);
CREATE TABLE console_wafers (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	lot_id VARCHAR(200) NOT NULL,
	product VARCHAR(200) NOT NULL,
	slot INTEGER NOT NULL,
	fab_ms BIGINT NOT NULL,
	received_ms BIGINT NOT NULL,
	seen BIGINT NOT NULL,
	PRIMARY KEY (site, substrate_id)
);
CREATE INDEX console_wafers_lot ON console_wafers (lot_id);
CREATE INDEX console_wafers_time ON console_wafers (site, fab_ms);
CREATE INDEX console_wafers_seen ON console_wafers (seen);
CREATE TABLE console_steps (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	sequence INTEGER NOT NULL,
	step VARCHAR(100) NOT NULL,
	module VARCHAR(200) NOT NULL,
	recipe_id VARCHAR(200) NOT NULL,
	process_job_id VARCHAR(200) NOT NULL,
	started_ms BIGINT,
	completed_ms BIGINT,
	PRIMARY KEY (site, substrate_id, sequence)
);
CREATE INDEX console_steps_module ON console_steps (site, module);
CREATE TABLE console_wafer_maps (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	received_ms BIGINT NOT NULL,
	rows INTEGER NOT NULL,
	columns INTEGER NOT NULL,
	grid BLOB NOT NULL,
	good INTEGER NOT NULL,
	bad INTEGER NOT NULL,
	source VARCHAR(200) NOT NULL,
	PRIMARY KEY (site, substrate_id)
);
CREATE INDEX console_wafer_maps_time ON console_wafer_maps (site, time_ms);
CREATE TABLE console_predictions (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	version_rank INTEGER NOT NULL,
	pattern VARCHAR(100) NOT NULL,
	predicted TEXT NOT NULL,
	probability FLOAT NOT NULL,
	probabilities TEXT NOT NULL,
	heatmap_rows INTEGER NOT NULL,
	heatmap_columns INTEGER NOT NULL,
	heatmap BLOB,
	embedding BLOB,
	novelty FLOAT,
	model VARCHAR(200) NOT NULL,
	model_version VARCHAR(64) NOT NULL,
	model_sha256 VARCHAR(64) NOT NULL,
	provider VARCHAR(64) NOT NULL,
	PRIMARY KEY (site, substrate_id)
);
CREATE INDEX console_predictions_pattern ON console_predictions (pattern);
CREATE TABLE console_metrology (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	step VARCHAR(100) NOT NULL,
	equipment_id VARCHAR(200) NOT NULL,
	parameter VARCHAR(100) NOT NULL,
	sites INTEGER NOT NULL,
	mean FLOAT NOT NULL,
	low FLOAT NOT NULL,
	high FLOAT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_metrology_wafer ON console_metrology (site, substrate_id);
CREATE TABLE console_review_images (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	step VARCHAR(100) NOT NULL,
	x_mm FLOAT NOT NULL,
	y_mm FLOAT NOT NULL,
	pixel_size_nm FLOAT NOT NULL,
	png BLOB NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_review_images_wafer ON console_review_images (site, substrate_id);
CREATE INDEX console_review_images_time ON console_review_images (time_ms);
CREATE TABLE console_modules (
	site VARCHAR(32) NOT NULL,
	module VARCHAR(200) NOT NULL,
	kind VARCHAR(64) NOT NULL,
	state VARCHAR(32) NOT NULL,
	inhibited INTEGER NOT NULL,
	reason TEXT NOT NULL,
	time_ms BIGINT NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (site, module)
);
CREATE TABLE console_module_states (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	module VARCHAR(200) NOT NULL,
	state VARCHAR(32) NOT NULL,
	inhibited INTEGER NOT NULL,
	reason TEXT NOT NULL,
	time_ms BIGINT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_module_states_module ON console_module_states (site, module, time_ms);
CREATE TABLE console_traces (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	module VARCHAR(200) NOT NULL,
	recipe_id VARCHAR(200) NOT NULL,
	step VARCHAR(100) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	time_ms BIGINT NOT NULL,
	variables TEXT NOT NULL,
	sample_period_ms FLOAT NOT NULL,
	samples INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_traces_recipe ON console_traces (site, recipe_id, step);
CREATE INDEX console_traces_place ON console_traces (site, module, recipe_id, time_ms);
CREATE TABLE console_alerts (
	alert_id VARCHAR(200) NOT NULL,
	site VARCHAR(32) NOT NULL,
	revision INTEGER NOT NULL,
	status VARCHAR(16) NOT NULL,
	kind VARCHAR(16) NOT NULL,
	severity VARCHAR(16) NOT NULL,
	pattern VARCHAR(100) NOT NULL,
	suspect_module VARCHAR(200) NOT NULL,
	since_ms BIGINT NOT NULL,
	time_ms BIGINT NOT NULL,
	at_risk INTEGER NOT NULL,
	received_ms BIGINT NOT NULL,
	updated_ms BIGINT NOT NULL,
	lock INTEGER NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (alert_id)
);
CREATE TABLE console_alert_states (
	alert_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	decision VARCHAR(16) NOT NULL,
	"by" VARCHAR(200) NOT NULL,
	comment TEXT NOT NULL,
	until_ms BIGINT NOT NULL,
	PRIMARY KEY (alert_id)
);
CREATE TABLE console_actions (
	action_id VARCHAR(200) NOT NULL,
	alert_id VARCHAR(200) NOT NULL,
	site VARCHAR(32) NOT NULL,
	kind VARCHAR(32) NOT NULL,
	status VARCHAR(16) NOT NULL,
	rank INTEGER NOT NULL,
	time_ms BIGINT NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	received_ms BIGINT NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (action_id)
);
CREATE INDEX ix_console_actions_alert_id ON console_actions (alert_id);
CREATE TABLE console_timeline (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	time_ms BIGINT NOT NULL,
	received_ms BIGINT NOT NULL,
	alert_id VARCHAR(200) NOT NULL,
	action_id VARCHAR(200) NOT NULL,
	what VARCHAR(64) NOT NULL,
	"by" VARCHAR(200) NOT NULL,
	comment TEXT NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX console_timeline_time ON console_timeline (time_ms);
CREATE INDEX ix_console_timeline_alert_id ON console_timeline (alert_id);
CREATE TABLE console_labels (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	patterns TEXT NOT NULL,
	"by" VARCHAR(200) NOT NULL,
	comment TEXT NOT NULL,
	PRIMARY KEY (site, substrate_id)
);
CREATE TABLE console_dead_letters (
	event_id VARCHAR(64) NOT NULL,
	site VARCHAR(32) NOT NULL,
	time_ms BIGINT NOT NULL,
	source_topic VARCHAR(200) NOT NULL,
	source_partition INTEGER NOT NULL,
	source_offset BIGINT NOT NULL,
	size_bytes BIGINT NOT NULL,
	error VARCHAR(100) NOT NULL,
	reason TEXT NOT NULL,
	stage VARCHAR(64) NOT NULL,
	topic VARCHAR(200) NOT NULL,
	partition INTEGER NOT NULL,
	"offset" BIGINT NOT NULL,
	replayed_by VARCHAR(200) NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX ix_console_dead_letters_time_ms ON console_dead_letters (time_ms);
CREATE TABLE console_audit (
	id INTEGER NOT NULL,
	time_ms BIGINT NOT NULL,
	who VARCHAR(200) NOT NULL,
	what VARCHAR(64) NOT NULL,
	subject VARCHAR(200) NOT NULL,
	why TEXT NOT NULL,
	"before" TEXT NOT NULL,
	"after" TEXT NOT NULL,
	digest VARCHAR(64),
	PRIMARY KEY (id)
);
CREATE INDEX ix_console_audit_subject ON console_audit (subject);
CREATE TRIGGER console_audit_no_update BEFORE UPDATE ON console_audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER console_audit_no_delete BEFORE DELETE ON console_audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TABLE console_accounts (
	name VARCHAR(64) NOT NULL,
	role VARCHAR(16) NOT NULL,
	password VARCHAR(200) NOT NULL,
	subject VARCHAR(400) NOT NULL,
	disabled INTEGER NOT NULL,
	created_ms BIGINT NOT NULL,
	changed_ms BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE console_sessions (
	hash VARCHAR(64) NOT NULL,
	account VARCHAR(64) NOT NULL,
	address VARCHAR(64) NOT NULL,
	created_ms BIGINT NOT NULL,
	seen_ms BIGINT NOT NULL,
	PRIMARY KEY (hash)
);
CREATE INDEX ix_console_sessions_account ON console_sessions (account);
CREATE INDEX console_sessions_seen ON console_sessions (seen_ms);
CREATE TABLE console_tokens (
	token_id VARCHAR(16) NOT NULL,
	hash VARCHAR(64) NOT NULL,
	account VARCHAR(64) NOT NULL,
	purpose TEXT NOT NULL,
	scopes TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	expires_ms BIGINT NOT NULL,
	revoked_ms BIGINT NOT NULL,
	PRIMARY KEY (token_id),
	UNIQUE (hash)
);
CREATE INDEX ix_console_tokens_account ON console_tokens (account);
INSERT INTO outbox ("name", "seq", "topic", "key", "headers", "value") VALUES ('name', 1, 'topic', x'6f6c64', x'6f6c64', x'6f6c64');
INSERT INTO outbox_counters ("name", "last_seq") VALUES ('name', 1);
INSERT INTO stream_leases ("name", "holder", "process", "expires_ms") VALUES ('name', 'holder', 'process', 1);
INSERT INTO stream_offsets ("name", "topic", "partition", "next_offset") VALUES ('name', 'topic', 1, 1);
INSERT INTO controller_parts ("site", "part", "data") VALUES ('site', 'part', x'6f6c64');
INSERT INTO controller_state ("site", "state") VALUES ('site', x'6f6c64');
INSERT INTO console_accounts ("name", "role", "password", "subject", "disabled", "created_ms", "changed_ms") VALUES ('name', 'role', 'password', 'subject', 1, 1, 1);
INSERT INTO console_actions ("action_id", "alert_id", "site", "kind", "status", "rank", "time_ms", "event_id", "received_ms", "body") VALUES ('action_id', 'alert_id', 'site', 'kind', 'status', 1, 1, 'event_id', 1, x'6f6c64');
INSERT INTO console_alert_states ("alert_id", "event_id", "time_ms", "decision", "by", "comment", "until_ms") VALUES ('alert_id', 'event_id', 1, 'decision', 'by', 'comment', 1);
INSERT INTO console_alerts ("alert_id", "site", "revision", "status", "kind", "severity", "pattern", "suspect_module", "since_ms", "time_ms", "at_risk", "received_ms", "updated_ms", "lock", "body") VALUES ('alert_id', 'site', 1, 'status', 'kind', 'severity', 'pattern', 'suspect_module', 1, 1, 1, 1, 1, 1, x'6f6c64');
INSERT INTO console_audit ("id", "time_ms", "who", "what", "subject", "why", "before", "after", "digest") VALUES (1, 1, 'who', 'what', 'subject', 'why', 'before', 'after', 'digest');
INSERT INTO console_automation ("site", "automatic", "by", "reason", "time_ms", "event_id") VALUES ('site', 1, 'by', 'reason', 1, 'event_id');
INSERT INTO console_changes ("id", "topic", "subject") VALUES (1, 'topic', 'subject');
INSERT INTO console_chart_points ("event_id", "site", "chart_id", "time_ms", "value", "center", "lower", "upper", "sigma", "rules", "phase", "points", "contributions", "lot_id", "substrates") VALUES ('event_id', 'site', 'chart_id', 1, 1, 1, 1, 1, 1, 'rules', 1, 1, 'contributions', 'lot_id', 'substrates');
INSERT INTO console_charts ("site", "chart_id", "event_id", "chart", "module", "step", "recipe_id", "parameter", "time_ms", "value", "center", "lower", "upper", "sigma", "rules", "phase", "points", "contributions", "enabled", "arl0", "arl1", "cp", "cpk", "cpk_low", "cpk_high", "out_ms") VALUES ('site', 'chart_id', 'event_id', 'chart', 'module', 'step', 'recipe_id', 'parameter', 1, 1, 1, 1, 1, 1, 'rules', 1, 1, 'contributions', 'enabled', 1, 1, 1, 1, 1, 1, 1);
INSERT INTO console_counters ("name", "value") VALUES ('name', 1);
INSERT INTO console_dead_letters ("event_id", "site", "time_ms", "source_topic", "source_partition", "source_offset", "size_bytes", "error", "reason", "stage", "topic", "partition", "offset", "replayed_by") VALUES ('event_id', 'site', 1, 'source_topic', 1, 1, 1, 'error', 'reason', 'stage', 'topic', 1, 1, 'replayed_by');
INSERT INTO console_effects ("action_id", "event_id", "time_ms", "verdict", "measure", "before", "after", "wafers", "consequence", "evidence") VALUES ('action_id', 'event_id', 1, 'verdict', 'measure', 1, 1, 1, 'consequence', 'evidence');
INSERT INTO console_labels ("site", "substrate_id", "event_id", "time_ms", "patterns", "by", "comment") VALUES ('site', 'substrate_id', 'event_id', 1, 'patterns', 'by', 'comment');
INSERT INTO console_metrology ("event_id", "site", "substrate_id", "time_ms", "step", "equipment_id", "parameter", "sites", "mean", "low", "high") VALUES ('event_id', 'site', 'substrate_id', 1, 'step', 'equipment_id', 'parameter', 1, 1, 1, 1);
INSERT INTO console_module_states ("event_id", "site", "module", "state", "inhibited", "reason", "time_ms") VALUES ('event_id', 'site', 'module', 'state', 1, 'reason', 1);
INSERT INTO console_modules ("site", "module", "kind", "state", "inhibited", "reason", "time_ms", "event_id") VALUES ('site', 'module', 'kind', 'state', 1, 'reason', 1, 'event_id');
INSERT INTO console_predictions ("site", "substrate_id", "event_id", "time_ms", "version_rank", "pattern", "predicted", "probability", "probabilities", "heatmap_rows", "heatmap_columns", "heatmap", "embedding", "novelty", "model", "model_version", "model_sha256", "provider") VALUES ('site', 'substrate_id', 'event_id', 1, 1, 'pattern', 'predicted', 1, 'probabilities', 1, 1, x'6f6c64', x'6f6c64', 1, 'model', 'model_version', 'model_sha256', 'provider');
INSERT INTO console_r2r_runs ("event_id", "site", "thread", "time_ms", "target", "measured", "virtual", "disturbance", "drift", "set_point", "recommended", "gain", "gain_ratio", "weight", "runs", "status", "reason") VALUES ('event_id', 'site', 'thread', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 'status', 'reason');
INSERT INTO console_r2r_threads ("site", "thread", "event_id", "product", "module", "recipe_id", "step", "output", "parameter", "time_ms", "target", "measured", "virtual", "disturbance", "drift", "set_point", "recommended", "gain", "gain_ratio", "weight", "runs", "status", "reason") VALUES ('site', 'thread', 'event_id', 'product', 'module', 'recipe_id', 'step', 'output', 'parameter', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 'status', 'reason');
INSERT INTO console_review_images ("event_id", "site", "substrate_id", "time_ms", "step", "x_mm", "y_mm", "pixel_size_nm", "png") VALUES ('event_id', 'site', 'substrate_id', 1, 'step', 1, 1, 1, x'6f6c64');
INSERT INTO console_risks ("site", "substrate_id", "sequence", "event_id", "lot_id", "slot", "time_ms", "step", "any_pattern", "expected_loss", "pattern", "probabilities", "suspects") VALUES ('site', 'substrate_id', 1, 'event_id', 'lot_id', 1, 1, 'step', 1, 1, 'pattern', 'probabilities', 'suspects');
INSERT INTO console_sessions ("hash", "account", "address", "created_ms", "seen_ms") VALUES ('hash', 'account', 'address', 1, 1);
INSERT INTO console_site_clocks ("site", "fab_ms", "wall_ms") VALUES ('site', 1, 1);
INSERT INTO console_steps ("site", "substrate_id", "sequence", "step", "module", "recipe_id", "process_job_id", "started_ms", "completed_ms") VALUES ('site', 'substrate_id', 1, 'step', 'module', 'recipe_id', 'process_job_id', 1, 1);
INSERT INTO console_timeline ("event_id", "site", "time_ms", "received_ms", "alert_id", "action_id", "what", "by", "comment", "detail") VALUES ('event_id', 'site', 1, 1, 'alert_id', 'action_id', 'what', 'by', 'comment', 'detail');
INSERT INTO console_tokens ("token_id", "hash", "account", "purpose", "scopes", "created_ms", "expires_ms", "revoked_ms") VALUES ('token_id', 'hash', 'account', 'purpose', 'scopes', 1, 1, 1);
INSERT INTO console_traces ("event_id", "site", "module", "recipe_id", "step", "substrate_id", "time_ms", "variables", "sample_period_ms", "samples", "data") VALUES ('event_id', 'site', 'module', 'recipe_id', 'step', 'substrate_id', 1, 'variables', 1, 1, x'6f6c64');
INSERT INTO console_virtual_metrology ("event_id", "site", "module", "recipe_id", "step", "parameter", "lot_id", "substrate_id", "time_ms", "predicted", "low", "high", "coverage", "unlike", "learned") VALUES ('event_id', 'site', 'module', 'recipe_id', 'step', 'parameter', 'lot_id', 'substrate_id', 1, 1, 1, 1, 1, 1, 1);
INSERT INTO console_wafer_maps ("site", "substrate_id", "event_id", "time_ms", "received_ms", "rows", "columns", "grid", "good", "bad", "source") VALUES ('site', 'substrate_id', 'event_id', 1, 1, 1, 1, x'6f6c64', 1, 1, 'source');
INSERT INTO console_wafer_risks ("site", "substrate_id", "sequence", "event_id", "lot_id", "slot", "time_ms", "step", "any_pattern", "expected_loss", "pattern", "probabilities", "suspects") VALUES ('site', 'substrate_id', 1, 'event_id', 'lot_id', 1, 1, 'step', 1, 1, 'pattern', 'probabilities', 'suspects');
INSERT INTO console_wafers ("site", "substrate_id", "lot_id", "product", "slot", "fab_ms", "received_ms", "seen") VALUES ('site', 'substrate_id', 'lot_id', 'product', 1, 1, 1, 1);
