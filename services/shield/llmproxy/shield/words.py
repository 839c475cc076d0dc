"""The words that guards look for, and that the quick look knows too (`look.py`): lower case, `?` where a letter is not ASCII."""

NAMES = (
    b"key",
    b"token",
    b"secret",
    b"access",
    b"private",
    b"cred",
    b"auth",
    b"bearer",
    b"pass",
    b"pwd",
    b"api",
    b"pat",
    b"session",
    b"sessid",
    b"cookie",
    b"sid",
)
"""What a value is called that somebody assigns."""

VENDOR_NAMES = frozenset(
    (
        b"adafruit airtable algolia alibaba amplitude anypoint apollo artifactory asana atlassian auth0 bitbucket "
        b"bitly braintree bugsnag buildkite checkly circleci clearbit cloudflare cloudinary cloudsmith codacy "
        b"codecov coinbase confluent contentful coveralls crowdin datadog deepgram dockerhub doppler dropbox "
        b"elastic elevenlabs etherscan facebook fastly figma finnhub freshdesk gitter grafana harness heroku "
        b"honeycomb hubspot infura intercom jfrog jira jumpcloud klaviyo kraken launchdarkly linkedin lokalise "
        b"mailchimp mailgun mailjet mapbox mapquest messagebird mixpanel moralis netlify newrelic nexmo notion "
        b"nytimes okta onesignal opsgenie pagerduty pastebin paypal paystack pinecone plaid postmark pushbullet "
        b"pusher rapidapi rollbar salesforce scaleway segment sendbird sentry shodan shutterstock snyk sonarqube "
        b"sparkpost splunk square sumologic telegram travis travisci trello twitch twitter typeform vercel "
        b"virustotal vonage wakatime webflow zendesk zoho "
        b"abuseipdb alchemy alphavantage anthropic assemblyai binance bybit calendly chartmogul cohere covalent deepseek "
        b"digitalocean eventbrite fixer giphy graphhopper groq hetzner ipapi ipdata ipgeolocation ipinfo ipstack kucoin linode "
        b"loggly mapquest mistral newsapi openai openweather openweathermap packagist polygon quicknode replicate rebrandly "
        b"screenshotapi sendgrid serpapi shopify snowflake sonar spoonacular stripe supabase tmdb tomtom twilio urlscan vultr "
        b"weatherapi wistia zerobounce "
    ).split()
)
"""Directly before a token, a name for it."""

BIRTH = (
    b"birth",
    b"born",
    b"dob",
    b"geboren",
    b"geb.",
    b"geburt",
    b"naci",
    b"naiss",
    b"n? le",
    b"n?e le",
    b"nato il",
    b"nata il",
    b"nascita",
    b"urodz",
    b"geb datum",
)

STATED = (b"swift", b"bic", b"plate")
"""What has neither digits enough nor a checksum stands behind these."""
