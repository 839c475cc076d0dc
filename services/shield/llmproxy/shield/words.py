"""The words that guards look for, and that the quick look knows too (`look.py`): lower case."""

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
    b"birth", b"born", b"dob", b"d.o.b", b"bday", b"b-day", b"(b. ", b"gebor", b"geboo", b"geburt", b"geb.", b"geb:", b"geb datum", b"gebdat",
    b"naci", b"nac.", b"nato ", b"nata ", b"naiss", b"nasc", b"urodz", b" ur. ", b"narozen", b"naroden", b"rojen", b"lahir", b"synty", b"synt. ",
)  # fmt: skip
"""What a day of birth is called; `BIRTH_BEYOND`: as it is written, in scripts and with letters that are not ASCII."""

BIRTH_BEYOND = (
    "né le ", "née le ", "né(e) le ", "Né le ", "Née le ", "Né(e) le ", "NÉ LE ", "NÉE LE ", "NÉ(E) LE ", "né à ", "née à ", "Né à ", "Née à ", "nació", "nací ",
    "дата рожд", "Дата рожд", "ДАТА РОЖД", "рожден", "рождён", "Рожден", "день рожд", "родил", "Родил", "д.р.", "Д.р.", "народж", "Народж", "роден", "рођен",
    "γέννησ", "γεννήθηκ", "doğum", "Doğum", "szület", "Szület", "născut", "Născut", "nașter", "rođen", "Rođen", "född", "Född", "født", "Født", "fødsel", "Fødsel", "födel", "Födel",
    "ngày sinh", "Ngày sinh", "sinh ngày", "Sinh ngày", "sündi", "sünni", "dzimš", "Dzimš", "gimimo", "narození", "narodenia",
    "出生", "生日", "生于", "生於", "誕生日", "生年月日", "生まれ", "생년월일", "생일", "출생", "년생",
    "ميلاد", "مواليد", "المولود", "ولد في", "ولدت في", "תאריך לידה", "נולד", "जन्म", "วันเกิด",
)  # fmt: skip

STATED = (
    b"swift", b"bic", b"plate", b"passport", b"passeport", b"reisepass", b"pasaporte", b"passaport", b"paszport", b"paspoort", b"ausweis",
    b"travel document", b"passnummer", b"pass-nr", b"hrerschein", b"codice fiscale", b"cod. fisc", b"c.f.",
)  # fmt: skip
"""What has neither digits enough nor a checksum stands behind these. `STATED_BEYOND`: as `BIRTH_BEYOND`."""

STATED_BEYOND = (
    "护照", "護照", "旅券", "パスポート", "여권", "паспорт", "Паспорт", "جواز السفر", "جواز سفر", "पासपोर्ट", "דרכון", "διαβατ",
    "個人番号", "マイナンバー", "주민등록번호", "주민번호", "СНИЛС", "账号", "帳號", "口座番号", "계좌번호", "номер счёта", "номер счета", "رقم الحساب", "खाता संख्या", "खाता नंबर",
    "病历号", "就诊号", "患者番号", "カルテ番号", "驾驶证", "驾照", "免許証", "운전면허", "водительск", "आधार",
)  # fmt: skip
