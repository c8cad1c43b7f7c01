-- Why an agent's key was revoked, in the words of whoever did it.
ALTER TABLE agent_keys ADD COLUMN revoked_reason TEXT;
