-- Jobs are claimed by tag, and by priority only among equal tags: priority decides within an organization.
-- The last tag of each priority of an organization whose jobs are still ahead of what was claimed: `10:55 0:1200`.
ALTER TABLE job_tags ADD COLUMN lanes text NOT NULL DEFAULT '';

DROP INDEX action_jobs_ready;
DROP INDEX action_jobs_to_hand;
CREATE INDEX action_jobs_ready ON action_jobs (tag, priority DESC, job_id) WHERE state = 'waiting' AND ready;
CREATE INDEX action_jobs_to_hand ON action_jobs (tag, priority DESC, job_id)
    WHERE state = 'waiting' AND ready AND NOT handed_over;
