BEGIN TRANSACTION;
CREATE TABLE actuals(
        session TEXT NOT NULL, branch TEXT NOT NULL, model TEXT NOT NULL, restatements INTEGER NOT NULL,
        actual_close REAL NOT NULL CHECK(actual_close > 0), table_close REAL NOT NULL CHECK(table_close > 0),
        units REAL NOT NULL CHECK(units > 0), settled_at TEXT NOT NULL,
        PRIMARY KEY(session, branch, model, restatements),
        FOREIGN KEY(session, branch, model) REFERENCES forecasts(session, branch, model)) WITHOUT ROWID;
INSERT INTO "actuals" VALUES('2024-01-04','main','old-aapl',0,101.5,101.5,1.0,'2024-01-05T22:30:00+00:00');
INSERT INTO "actuals" VALUES('2024-01-04','main','old-aapl',1,101.5,25.375,0.25,'2024-01-06T22:30:00+00:00');
INSERT INTO "actuals" VALUES('2024-01-04','main','red-aapl',0,101.5,101.5,1.0,'2024-01-05T22:30:00+00:00');
INSERT INTO "actuals" VALUES('2024-01-04','main','red-aapl',1,101.5,25.375,0.25,'2024-01-06T22:30:00+00:00');
CREATE TABLE forecasts(
        session TEXT NOT NULL, branch TEXT NOT NULL, model TEXT NOT NULL, team TEXT NOT NULL, ticker TEXT NOT NULL,
        exchange TEXT NOT NULL, version TEXT NOT NULL, target_session TEXT NOT NULL CHECK(target_session > session),
        target_closes_at TEXT NOT NULL,
        last_close REAL NOT NULL CHECK(last_close > 0), log_return REAL NOT NULL,
        predicted_close REAL NOT NULL CHECK(predicted_close > 0),
        raw_predicted_close REAL NOT NULL CHECK(raw_predicted_close > 0),
        drift_predicted_close REAL NOT NULL CHECK(drift_predicted_close > 0),
        base_predicted_close REAL NOT NULL CHECK(base_predicted_close > 0),
        announced_dividend REAL NOT NULL CHECK(announced_dividend >= 0), shrinkage REAL NOT NULL,
        intervals TEXT NOT NULL, previous_session TEXT, previous_close REAL, row_hash TEXT NOT NULL,
        issued_at TEXT NOT NULL,
        PRIMARY KEY(session, branch, model)) WITHOUT ROWID;
INSERT INTO "forecasts" VALUES('2024-01-04','main','old-aapl','red','AAPL','XNYS','0123456789ab','2024-01-05','2024-01-05T21:00:00+00:00',100.0,9.9503308531680920157e-03,101.0,102.0,1.00039999999999992038e+02,100.0,0.25,0.5,'[]',NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','2024-01-04T22:30:00+00:00');
INSERT INTO "forecasts" VALUES('2024-01-04','main','red-aapl','red','AAPL','XNYS','0123456789ab','2024-01-05','2024-01-05T21:00:00+00:00',100.0,9.9503308531680920157e-03,101.0,102.0,1.00039999999999992038e+02,100.0,0.0,0.5,'[[80.0, 98.0, 104.0, 0.02], [95.0, 96.0, 106.0, null]]','2024-01-03',99.0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','2024-01-04T22:30:00+00:00');
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('kind','journal of forecasts');
INSERT INTO "meta" VALUES('format','1');
CREATE INDEX forecasts_of_model ON forecasts(model, branch, session);
CREATE INDEX forecasts_of_ticker ON forecasts(ticker, session);
CREATE TRIGGER forecasts_no_update BEFORE UPDATE ON forecasts BEGIN SELECT RAISE(ABORT, 'rows of forecasts are never changed'); END;
CREATE TRIGGER forecasts_no_delete BEFORE DELETE ON forecasts BEGIN SELECT RAISE(ABORT, 'rows of forecasts are never changed'); END;
CREATE TRIGGER forecasts_no_replace BEFORE INSERT ON forecasts WHEN EXISTS (SELECT 1 FROM forecasts WHERE session = NEW.session AND branch = NEW.branch AND model = NEW.model) BEGIN SELECT RAISE(ABORT, 'rows of forecasts are never changed'); END;
CREATE TRIGGER actuals_no_update BEFORE UPDATE ON actuals BEGIN SELECT RAISE(ABORT, 'rows of actuals are never changed'); END;
CREATE TRIGGER actuals_no_delete BEFORE DELETE ON actuals BEGIN SELECT RAISE(ABORT, 'rows of actuals are never changed'); END;
CREATE TRIGGER actuals_no_replace BEFORE INSERT ON actuals WHEN EXISTS (SELECT 1 FROM actuals WHERE session = NEW.session AND branch = NEW.branch AND model = NEW.model AND restatements = NEW.restatements) BEGIN SELECT RAISE(ABORT, 'rows of actuals are never changed'); END;
COMMIT;
