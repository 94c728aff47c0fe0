BEGIN TRANSACTION;
CREATE TABLE activities(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, ticker TEXT NOT NULL, qty TEXT NOT NULL, cash TEXT NOT NULL,
    day TEXT NOT NULL, moved TEXT NOT NULL DEFAULT '0', settled INTEGER NOT NULL DEFAULT 0);
INSERT INTO "activities" VALUES('a1','SPLIT','TSLA','10','0','2024-01-03','10',1);
INSERT INTO "activities" VALUES('a2','DIV','AAPL','0','19.2','2024-01-03','0',0);
CREATE TABLE blocks(ticker TEXT PRIMARY KEY, reason TEXT NOT NULL, since TEXT NOT NULL);
INSERT INTO "blocks" VALUES('XYZ','position: 0 shares by the ledger, 3 at the broker','2024-01-03T21:30:00+00:00');
CREATE TABLE decisions(
    session TEXT NOT NULL, ticker TEXT NOT NULL, action TEXT NOT NULL, lots INTEGER NOT NULL,
    wanted_lots INTEGER NOT NULL, bound TEXT, forecast_bps REAL, cost_bps REAL NOT NULL, current_weight REAL NOT NULL,
    target_weight REAL NOT NULL, price TEXT, models TEXT NOT NULL, reasons TEXT NOT NULL, client_order_id TEXT,
    decided_at TEXT NOT NULL, PRIMARY KEY(session, ticker));
INSERT INTO "decisions" VALUES('2024-01-03','AAPL','buy',3,4,'max weight',52.5,4.3,0.0,0.15,'185.64','[["red-x", 52.5, "1a2b3c4d5e6f", "skill"], ["red-y", -1.0, "ffffffffffff", null]]','["forecast +52.50 bps"]','red-AAPL-20240103-b-1a2b3c4d5e6f','2024-01-02T21:30:00+00:00');
INSERT INTO "decisions" VALUES('2024-01-03','MSFT','sell',-2,4,'max weight',52.5,4.3,0.0,0.15,'185.64','[["red-x", 52.5, "1a2b3c4d5e6f", "skill"], ["red-y", -1.0, "ffffffffffff", null]]','["forecast +52.50 bps"]','red-MSFT-20240103-s-1a2b3c4d5e6f','2024-01-02T21:30:00+00:00');
INSERT INTO "decisions" VALUES('2024-01-03','NVDA','buy',3,4,'max weight',52.5,4.3,0.0,0.15,'185.64','[["red-x", 52.5, "1a2b3c4d5e6f", "skill"], ["red-y", -1.0, "ffffffffffff", null]]','["forecast +52.50 bps"]','red-NVDA-20240103-b-1a2b3c4d5e6f','2024-01-02T21:30:00+00:00');
INSERT INTO "decisions" VALUES('2024-01-03','TSLA','hold',0,4,NULL,NULL,4.3,0.0,0.0,'185.64','[["red-x", 52.5, "1a2b3c4d5e6f", "skill"], ["red-y", -1.0, "ffffffffffff", null]]','["forecast +52.50 bps"]',NULL,'2024-01-02T21:30:00+00:00');
INSERT INTO "decisions" VALUES('2024-01-04','AAPL','sell',-2,4,'max weight',52.5,4.3,0.0,0.15,'185.64','[["red-x", 52.5, "1a2b3c4d5e6f", "skill"], ["red-y", -1.0, "ffffffffffff", null]]','["forecast +52.50 bps"]','red-AAPL-20240104-s-1a2b3c4d5e6f','2024-01-03T21:30:00+00:00');
CREATE TABLE equity(session TEXT PRIMARY KEY, equity TEXT NOT NULL, cash TEXT NOT NULL, time TEXT NOT NULL);
INSERT INTO "equity" VALUES('2024-01-03','100123.4','85282.1','2024-01-03T21:30:00+00:00');
CREATE TABLE events(id INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, ticker TEXT, text TEXT NOT NULL);
INSERT INTO "events" VALUES(1,'2024-01-02T21:30:00+00:00','opened',NULL,'100000.50 USD in cash, 1 positions');
INSERT INTO "events" VALUES(2,'2024-01-02T21:30:00+00:00','refused','MSFT','insufficient shares');
INSERT INTO "events" VALUES(3,'2024-01-03T21:30:00+00:00','moved','TSLA','10 shares by SPLIT');
INSERT INTO "events" VALUES(4,'2024-01-03T21:30:00+00:00','blocked','XYZ','position: 0 shares by the ledger, 3 at the broker');
CREATE TABLE fills(
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, qty TEXT NOT NULL,
    price TEXT NOT NULL, time TEXT NOT NULL);
INSERT INTO "fills" VALUES('f1','o1','AAPL','buy','80','184.22','2024-01-03T14:30:00+00:00');
CREATE TABLE holdings(ticker TEXT PRIMARY KEY, qty TEXT NOT NULL);
INSERT INTO "holdings" VALUES('TSLA','5');
CREATE TABLE intents(
    client_order_id TEXT PRIMARY KEY, team TEXT NOT NULL, ticker TEXT NOT NULL, session TEXT NOT NULL,
    side TEXT NOT NULL, qty TEXT, notional TEXT, type TEXT NOT NULL, limit_price TEXT, time_in_force TEXT NOT NULL,
    model TEXT NOT NULL, version TEXT NOT NULL, forecast_bps REAL NOT NULL, price_seen TEXT NOT NULL,
    reasons TEXT NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', written_at TEXT NOT NULL,
    changed_at TEXT NOT NULL);
INSERT INTO "intents" VALUES('red-MSFT-20240103-s-1a2b3c4d5e6f','red','MSFT','2024-01-03','sell','2',NULL,'limit','370.1','day','red-msft','1a2b3c4d5e6f',52.5,'185.64','["forecast +52.50 bps", "a note"]','refused','insufficient shares','2024-01-02T21:30:00+00:00','2024-01-02T21:30:00+00:00');
INSERT INTO "intents" VALUES('red-AAPL-20240103-b-1a2b3c4d5e6f','red','AAPL','2024-01-03','buy','80',NULL,'market',NULL,'day','red-aapl','1a2b3c4d5e6f',52.5,'185.64','["forecast +52.50 bps", "a note"]','sent','','2024-01-02T21:30:00+00:00','2024-01-03T21:30:00+00:00');
INSERT INTO "intents" VALUES('red-NVDA-20240103-b-1a2b3c4d5e6f','red','NVDA','2024-01-03','buy','1.25',NULL,'market',NULL,'day','red-nvda','1a2b3c4d5e6f',52.5,'185.64','["forecast +52.50 bps", "a note"]','sent','','2024-01-02T21:30:00+00:00','2024-01-03T21:30:00+00:00');
INSERT INTO "intents" VALUES('red-AAPL-20240104-s-1a2b3c4d5e6f','red','AAPL','2024-01-04','sell','80',NULL,'market',NULL,'day','red-aapl','1a2b3c4d5e6f',52.5,'185.64','["forecast +52.50 bps", "a note"]','written','','2024-01-03T21:30:00+00:00','2024-01-03T21:30:00+00:00');
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('team','red');
INSERT INTO "meta" VALUES('account','acc-1');
INSERT INTO "meta" VALUES('opened_at','2024-01-02T21:30:00+00:00');
INSERT INTO "meta" VALUES('opening_cash','100000.5');
INSERT INTO "meta" VALUES('reconciled_at','2024-01-03T21:30:00+00:00');
CREATE TABLE orders(
    id TEXT PRIMARY KEY, client_order_id TEXT NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, type TEXT NOT NULL,
    time_in_force TEXT NOT NULL, status TEXT NOT NULL, final INTEGER NOT NULL, qty TEXT, notional TEXT,
    limit_price TEXT, filled_qty TEXT NOT NULL, filled_average_price TEXT, submitted_at TEXT NOT NULL,
    seen_at TEXT NOT NULL, booked INTEGER NOT NULL);
INSERT INTO "orders" VALUES('o1','red-AAPL-20240103-b-1a2b3c4d5e6f','AAPL','buy','market','day','filled',1,'80',NULL,NULL,'80','184.22','2024-01-02T21:30:00+00:00','2024-01-03T21:30:00+00:00',1);
INSERT INTO "orders" VALUES('o2','red-NVDA-20240103-b-1a2b3c4d5e6f','NVDA','buy','market','day','accepted',0,'1.25',NULL,NULL,'0',NULL,'2024-01-02T21:30:00+00:00','2024-01-03T21:30:00+00:00',0);
CREATE TABLE passes(session TEXT PRIMARY KEY, decided_at TEXT NOT NULL);
INSERT INTO "passes" VALUES('2024-01-03','2024-01-02T21:30:00+00:00');
INSERT INTO "passes" VALUES('2024-01-04','2024-01-03T21:30:00+00:00');
CREATE INDEX intents_state ON intents(state);
CREATE INDEX orders_open ON orders(final);
CREATE INDEX orders_unbooked ON orders(booked);
CREATE INDEX fills_order ON fills(order_id);
COMMIT;
