-- What commit 065b618 made of a new database, and a row in every table.
CREATE TABLE outbox_counters (
	name VARCHAR(200) NOT NULL,
	last_seq BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	name VARCHAR(200) NOT NULL,
	seq BIGINT NOT NULL,
	topic VARCHAR(200) NOT NULL,
	key BYTEA NOT NULL,
	headers BYTEA NOT NULL,
	value BYTEA NOT NULL,
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
CREATE TABLE controller_state (
	site VARCHAR(32) NOT NULL,
	state BYTEA NOT NULL,
	PRIMARY KEY (site)
);
CREATE TABLE console_counters (
	name VARCHAR(32) NOT NULL,
	value BIGINT NOT NULL,
	PRIMARY KEY (name)
);
CREATE TABLE console_changes (
	id BIGINT NOT NULL,
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
CREATE INDEX console_wafers_seen ON console_wafers (seen);
CREATE INDEX console_wafers_lot ON console_wafers (lot_id);
CREATE INDEX console_wafers_time ON console_wafers (site, fab_ms);
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
	grid BYTEA NOT NULL,
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
	heatmap BYTEA,
	embedding BYTEA,
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
	png BYTEA NOT NULL,
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
	data BYTEA NOT NULL,
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
	body BYTEA NOT NULL,
	PRIMARY KEY (alert_id)
);
CREATE TABLE console_alert_states (
	alert_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	decision VARCHAR(16) NOT NULL,
	by VARCHAR(200) NOT NULL,
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
	body BYTEA NOT NULL,
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
	by VARCHAR(200) NOT NULL,
	comment TEXT NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (event_id)
);
CREATE INDEX ix_console_timeline_alert_id ON console_timeline (alert_id);
CREATE INDEX console_timeline_time ON console_timeline (time_ms);
CREATE TABLE console_labels (
	site VARCHAR(32) NOT NULL,
	substrate_id VARCHAR(200) NOT NULL,
	event_id VARCHAR(64) NOT NULL,
	time_ms BIGINT NOT NULL,
	patterns TEXT NOT NULL,
	by VARCHAR(200) NOT NULL,
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
	id BIGSERIAL NOT NULL,
	time_ms BIGINT NOT NULL,
	who VARCHAR(200) NOT NULL,
	what VARCHAR(64) NOT NULL,
	subject VARCHAR(200) NOT NULL,
	why TEXT NOT NULL,
	before TEXT NOT NULL,
	after TEXT NOT NULL,
	PRIMARY KEY (id)
);
CREATE INDEX ix_console_audit_subject ON console_audit (subject);
CREATE OR REPLACE FUNCTION console_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$; CREATE TRIGGER console_audit_fixed BEFORE UPDATE OR DELETE ON console_audit FOR EACH ROW EXECUTE FUNCTION console_audit_refuse();
INSERT INTO outbox ("name", "seq", "topic", "key", "headers", "value") VALUES ('name', 1, 'topic', '\x6f6c64', '\x6f6c64', '\x6f6c64');
INSERT INTO outbox_counters ("name", "last_seq") VALUES ('name', 1);
INSERT INTO stream_leases ("name", "holder", "process", "expires_ms") VALUES ('name', 'holder', 'process', 1);
INSERT INTO stream_offsets ("name", "topic", "partition", "next_offset") VALUES ('name', 'topic', 1, 1);
INSERT INTO controller_state ("site", "state") VALUES ('site', '\x6f6c64');
INSERT INTO console_actions ("action_id", "alert_id", "site", "kind", "status", "rank", "time_ms", "event_id", "received_ms", "body") VALUES ('action_id', 'alert_id', 'site', 'kind', 'status', 1, 1, 'event_id', 1, '\x6f6c64');
INSERT INTO console_alert_states ("alert_id", "event_id", "time_ms", "decision", "by", "comment", "until_ms") VALUES ('alert_id', 'event_id', 1, 'decision', 'by', 'comment', 1);
INSERT INTO console_alerts ("alert_id", "site", "revision", "status", "kind", "severity", "pattern", "suspect_module", "since_ms", "time_ms", "at_risk", "received_ms", "updated_ms", "lock", "body") VALUES ('alert_id', 'site', 1, 'status', 'kind', 'severity', 'pattern', 'suspect_module', 1, 1, 1, 1, 1, 1, '\x6f6c64');
INSERT INTO console_audit ("id", "time_ms", "who", "what", "subject", "why", "before", "after") VALUES (1, 1, 'who', 'what', 'subject', 'why', 'before', 'after');
INSERT INTO console_changes ("id", "topic", "subject") VALUES (1, 'topic', 'subject');
INSERT INTO console_counters ("name", "value") VALUES ('name', 1);
INSERT INTO console_dead_letters ("event_id", "site", "time_ms", "source_topic", "source_partition", "source_offset", "size_bytes", "error", "reason", "stage", "topic", "partition", "offset", "replayed_by") VALUES ('event_id', 'site', 1, 'source_topic', 1, 1, 1, 'error', 'reason', 'stage', 'topic', 1, 1, 'replayed_by');
INSERT INTO console_labels ("site", "substrate_id", "event_id", "time_ms", "patterns", "by", "comment") VALUES ('site', 'substrate_id', 'event_id', 1, 'patterns', 'by', 'comment');
INSERT INTO console_metrology ("event_id", "site", "substrate_id", "time_ms", "step", "equipment_id", "parameter", "sites", "mean", "low", "high") VALUES ('event_id', 'site', 'substrate_id', 1, 'step', 'equipment_id', 'parameter', 1, 1, 1, 1);
INSERT INTO console_module_states ("event_id", "site", "module", "state", "inhibited", "reason", "time_ms") VALUES ('event_id', 'site', 'module', 'state', 1, 'reason', 1);
INSERT INTO console_modules ("site", "module", "kind", "state", "inhibited", "reason", "time_ms", "event_id") VALUES ('site', 'module', 'kind', 'state', 1, 'reason', 1, 'event_id');
INSERT INTO console_predictions ("site", "substrate_id", "event_id", "time_ms", "version_rank", "pattern", "predicted", "probability", "probabilities", "heatmap_rows", "heatmap_columns", "heatmap", "embedding", "novelty", "model", "model_version", "model_sha256", "provider") VALUES ('site', 'substrate_id', 'event_id', 1, 1, 'pattern', 'predicted', 1, 'probabilities', 1, 1, '\x6f6c64', '\x6f6c64', 1, 'model', 'model_version', 'model_sha256', 'provider');
INSERT INTO console_review_images ("event_id", "site", "substrate_id", "time_ms", "step", "x_mm", "y_mm", "pixel_size_nm", "png") VALUES ('event_id', 'site', 'substrate_id', 1, 'step', 1, 1, 1, '\x6f6c64');
INSERT INTO console_site_clocks ("site", "fab_ms", "wall_ms") VALUES ('site', 1, 1);
INSERT INTO console_steps ("site", "substrate_id", "sequence", "step", "module", "recipe_id", "process_job_id", "started_ms", "completed_ms") VALUES ('site', 'substrate_id', 1, 'step', 'module', 'recipe_id', 'process_job_id', 1, 1);
INSERT INTO console_timeline ("event_id", "site", "time_ms", "received_ms", "alert_id", "action_id", "what", "by", "comment", "detail") VALUES ('event_id', 'site', 1, 1, 'alert_id', 'action_id', 'what', 'by', 'comment', 'detail');
INSERT INTO console_traces ("event_id", "site", "module", "recipe_id", "step", "substrate_id", "time_ms", "variables", "sample_period_ms", "samples", "data") VALUES ('event_id', 'site', 'module', 'recipe_id', 'step', 'substrate_id', 1, 'variables', 1, 1, '\x6f6c64');
INSERT INTO console_wafer_maps ("site", "substrate_id", "event_id", "time_ms", "received_ms", "rows", "columns", "grid", "good", "bad", "source") VALUES ('site', 'substrate_id', 'event_id', 1, 1, 1, 1, '\x6f6c64', 1, 1, 'source');
INSERT INTO console_wafers ("site", "substrate_id", "lot_id", "product", "slot", "fab_ms", "received_ms", "seen") VALUES ('site', 'substrate_id', 'lot_id', 'product', 1, 1, 1, 1);
