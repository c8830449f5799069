"""All jobs of one session: from utterance to outcome, over as many attempts as it takes."""
