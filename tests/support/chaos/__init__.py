"""What chaos tests share: a fleet that can be hurt, a storm that hurts it, and an audit of what came of it."""
