-- What commit 99ff62e made of a new database, and a row in every table.
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
CREATE TABLE controller_state (
	site VARCHAR(32) NOT NULL,
	state BLOB NOT NULL,
	PRIMARY KEY (site)
);
INSERT INTO outbox ("name", "seq", "topic", "key", "headers", "value") VALUES ('name', 1, 'topic', x'6f6c64', x'6f6c64', x'6f6c64');
INSERT INTO outbox_counters ("name", "last_seq") VALUES ('name', 1);
INSERT INTO stream_leases ("name", "holder", "process", "expires_ms") VALUES ('name', 'holder', 'process', 1);
INSERT INTO stream_offsets ("name", "topic", "partition", "next_offset") VALUES ('name', 'topic', 1, 1);
INSERT INTO controller_state ("site", "state") VALUES ('site', x'6f6c64');
