-- The name under which operators of the former backend ask for the schema's version.
CREATE VIEW _sqlx_migrations AS
    SELECT version, name AS description, applied_at AS installed_on, true AS success FROM schema_migrations;
