"""What vendors say their keys look like: the prefix, the rest, and where it is written down."""

import re

from msgspec import Struct

NOT_AFTER, NOT_BEFORE = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_-])"


class Vendor(Struct, frozen=True):
    """`secret.<name>` where `pattern` matches at one of `literals`. Group 1, when there is one, is the secret."""

    name: str
    literals: tuple[bytes, ...]
    pattern: re.Pattern[str]
    link: str
    before: int = 0  # Characters of the pattern that may stand before the literal.
    chars_max: int = 512
    entropy_min: float = 2.5


def _vendor(name: str, literals: str, pattern: str, link: str, *, before: int = 0, entropy_min: float = 2.5) -> Vendor:
    compiled = re.compile(pattern if before else NOT_AFTER + pattern, re.ASCII)
    return Vendor(name, tuple(literals.encode().split()), compiled, link, before=before, entropy_min=entropy_min)


END = NOT_BEFORE
VENDORS: tuple[Vendor, ...] = (
    _vendor("anthropic", "sk-ant-", r"sk-ant-(?:api|admin|oat|sid)?\d{0,2}-?[A-Za-z0-9_-]{20,200}", "https://docs.anthropic.com/en/api/admin-api/apikeys/get-api-key"),
    _vendor("openai", "sk-", r"sk-(?!ant-|lf-)(?:(?:proj|svcacct|admin|None|or-v1)-)?[A-Za-z0-9_-]{20,200}", "https://platform.openai.com/docs/api-reference/authentication"),
    _vendor("langfuse", "sk-lf- pk-lf-", r"[sp]k-lf-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "https://langfuse.com/docs/api"),
    _vendor("langsmith", "lsv2_", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}", "https://docs.smith.langchain.com/administration/how_to_guides/organization_management/create_account_api_key"),
    _vendor("aws_key_id", "AKIA ASIA ABIA ACCA", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9_])", "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids"),
    _vendor("aws", "ecret_access_key ecretAccessKey SecretAccessKey aws_secret AWS_SECRET ECRET_ACCESS_KEY ws_secret", r"(?i:secret_?access_?key|aws_?secret[a-z_]{0,16})[^\n]{0,12}?[\"'=:\s]([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])", "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html", before=24, entropy_min=4.0),
    _vendor("aws_bedrock", "ABSK", r"ABSK[A-Za-z0-9+/]{100,260}={0,2}", "https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html"),
    _vendor("github", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}" + END, "https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/"),
    _vendor("github", "github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + END, "https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats"),
    _vendor("gitlab", "glpat- gldt- glrt- glptt- glcbt- glft- glsoat- glimt- glagent- gloas- glffct-", r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|imt|agent|oas|ffct)-[A-Za-z0-9_.-]{20,100}", "https://docs.gitlab.com/security/tokens/#token-prefixes"),
    _vendor("slack", "xox", r"xox[abeoprs](?:\.xox[bp])?-(?:[A-Za-z0-9]{1,64}-){0,5}[A-Za-z0-9]{10,250}", "https://api.slack.com/concepts/token-types"),
    _vendor("slack", "xapp-", r"xapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,64}", "https://api.slack.com/concepts/token-types"),
    _vendor("slack_webhook", "hooks.slack.com", r"(?:https?://)?hooks\.slack\.com/(?:services|workflows|triggers)/[\w+/-]{20,80}", "https://api.slack.com/messaging/webhooks", before=8),
    _vendor("discord_webhook", "/api/webhooks/", r"https?://(?:\w{1,10}\.)?discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,80}", "https://discord.com/developers/docs/resources/webhook", before=34),
    _vendor("discord", "MT Mj Mz MD ND NT Nj Nz OD OT", r"(?:M[TjzD]|N[DTjz]|O[DT])[A-Za-z0-9_-]{22,26}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,42}" + END, "https://discord.com/developers/docs/reference#authentication", entropy_min=4.0),
    _vendor("teams_webhook", "webhook.office.com", r"https?://[\w-]{1,40}\.webhook\.office\.com/webhookb2/[\w@/-]{40,200}", "https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook", before=50),
    _vendor("google", "AIza", r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", "https://cloud.google.com/docs/authentication/api-keys"),
    _vendor("google_oauth", "GOCSPX- ya29. 1//0", r"(?:GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{20,400}|1//0[A-Za-z0-9_-]{40,120})", "https://developers.google.com/identity/protocols/oauth2"),
    _vendor("stripe", "sk_live_ sk_test_ rk_live_ rk_test_ whsec_", r"(?:[sr]k_(?:live|test)_|whsec_)[A-Za-z0-9+/=]{16,250}", "https://docs.stripe.com/keys"),
    _vendor("square", "EAAA sq0atp- sq0csp-", r"(?:EAAA[A-Za-z0-9_-]{60}|sq0(?:atp-[A-Za-z0-9_-]{22}|csp-[A-Za-z0-9_-]{43}))" + END, "https://developer.squareup.com/docs/build-basics/access-tokens"),
    _vendor("paypal", "access_token$production$", r"access_token\$production\$[a-z0-9]{13,16}\$[a-f0-9]{32}", "https://developer.paypal.com/braintree/docs/guides/paypal/server-side"),
    _vendor("razorpay", "rzp_live_ rzp_test_", r"rzp_(?:live|test)_[A-Za-z0-9]{14,24}" + END, "https://razorpay.com/docs/payments/dashboard/account-settings/api-keys/"),
    _vendor("flutterwave", "FLWSECK", r"FLWSECK(?:_TEST)?-[A-Za-z0-9]{12,40}(?:-X)?", "https://developer.flutterwave.com/docs/authentication"),
    _vendor("pagarme", "ak_live_ ak_test_", r"ak_(?:live|test)_[A-Za-z0-9]{30,48}" + END, "https://docs.pagar.me/docs/chaves-de-acesso"),
    _vendor("plaid", "access-production- access-sandbox-", r"access-(?:production|sandbox)-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "https://plaid.com/docs/api/tokens/"),
    _vendor("gocardless", "live_", r"live_[A-Za-z0-9_=-]{40}" + END, "https://developer.gocardless.com/getting-started/api/making-your-first-request/", entropy_min=4.0),
    _vendor("twilio", "SK AC", r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9_])", "https://www.twilio.com/docs/glossary/what-is-a-sid"),
    _vendor("sendgrid", "SG.", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}", "https://www.twilio.com/docs/sendgrid/ui/account-and-settings/api-keys"),
    _vendor("sendinblue", "xkeysib-", r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}", "https://developers.brevo.com/docs/getting-started"),
    _vendor("mailgun", "key- pubkey-", r"(?:pub)?key-[0-9a-f]{32}" + END, "https://documentation.mailgun.com/docs/mailgun/api-reference/mg-auth"),
    _vendor("mailchimp", "-us", r"[0-9a-f]{32}-us\d{1,2}" + END, "https://mailchimp.com/developer/marketing/guides/quick-start/", before=33),
    _vendor("resend", "re_", r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}" + END, "https://resend.com/docs/api-reference/introduction"),
    _vendor("npm", "npm_", r"npm_[A-Za-z0-9]{36}" + END, "https://docs.npmjs.com/about-access-tokens"),
    _vendor("pypi", "pypi-", r"pypi-AgE[A-Za-z0-9_-]{50,400}", "https://pypi.org/help/#apitoken"),
    _vendor("rubygems", "rubygems_", r"rubygems_[a-f0-9]{48}" + END, "https://guides.rubygems.org/api-key-scopes/"),
    _vendor("nuget", "oy2", r"oy2[a-z0-9]{43}" + END, "https://learn.microsoft.com/en-us/nuget/nuget-org/publish-a-package"),
    _vendor("crates_io", "cio", r"cio[A-Za-z0-9]{32}" + END, "https://doc.rust-lang.org/cargo/reference/publishing.html", entropy_min=4.0),
    _vendor("clojars", "CLOJARS_", r"CLOJARS_[a-f0-9]{60}" + END, "https://github.com/clojars/clojars-web/wiki/Deploy-Tokens"),
    _vendor("docker", "dckr_pat_ dckr_oat_", r"dckr_[po]at_[A-Za-z0-9_-]{27,40}", "https://docs.docker.com/security/for-developers/access-tokens/"),
    _vendor("artifactory", "AKCp", r"AKCp[A-Za-z0-9]{60,80}" + END, "https://jfrog.com/help/r/jfrog-platform-administration-documentation/user-profile"),
    _vendor("huggingface", "hf_ api_org_", r"(?:hf|api_org)_[A-Za-z0-9]{30,60}" + END, "https://huggingface.co/docs/hub/security-tokens"),
    _vendor("groq", "gsk_", r"gsk_[A-Za-z0-9]{40,64}" + END, "https://console.groq.com/docs/quickstart"),
    _vendor("xai", "xai-", r"xai-[A-Za-z0-9]{60,100}" + END, "https://docs.x.ai/docs/tutorial"),
    _vendor("perplexity", "pplx-", r"pplx-[A-Za-z0-9]{40,64}" + END, "https://docs.perplexity.ai/getting-started/quickstart"),
    _vendor("replicate", "r8_", r"r8_[A-Za-z0-9]{37,40}" + END, "https://replicate.com/docs/topics/security/api-tokens"),
    _vendor("nvidia", "nvapi-", r"nvapi-[A-Za-z0-9_-]{60,72}", "https://docs.nvidia.com/nim/large-language-models/latest/getting-started.html"),
    _vendor("pinecone", "pcsk_", r"pcsk_[A-Za-z0-9_]{40,90}" + END, "https://docs.pinecone.io/guides/projects/manage-api-keys"),
    _vendor("fireworks", "fw_", r"fw_[A-Za-z0-9]{22,24}" + END, "https://docs.fireworks.ai/getting-started/quickstart", entropy_min=3.5),
    _vendor("tavily", "tvly-", r"tvly-(?:dev-|prod-)?[A-Za-z0-9]{24,40}" + END, "https://docs.tavily.com/documentation/quickstart"),
    _vendor("digitalocean", "doo_v1_ dop_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}" + END, "https://docs.digitalocean.com/reference/api/create-personal-access-token/"),
    _vendor("heroku", "HRKU-", r"HRKU-[A-Za-z0-9_-]{36,64}", "https://devcenter.heroku.com/articles/authentication"),
    _vendor("flyio", "fm1_ fm2_ fo1_", r"(?:fm[12]|fo1)_[A-Za-z0-9+/=_-]{40,600}", "https://fly.io/docs/security/tokens/"),
    _vendor("supabase", "sbp_ sb_secret_", r"(?:sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,50})" + END, "https://supabase.com/docs/guides/api/api-keys"),
    _vendor("planetscale", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64}", "https://planetscale.com/docs/api/reference/service-tokens"),
    _vendor("neon", "napi_", r"napi_[a-z0-9]{40,64}" + END, "https://neon.com/docs/manage/api-keys"),
    _vendor("mongodb_atlas", "mdb_sa_sk_", r"mdb_sa_sk_[A-Za-z0-9_-]{38,42}", "https://www.mongodb.com/docs/atlas/api/service-accounts-overview/"),
    _vendor("databricks", "dapi", r"dapi[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9_])", "https://docs.databricks.com/en/dev-tools/auth/pat.html"),
    _vendor("confluent", "cflt", r"cflt[A-Za-z0-9+/]{56,64}" + END, "https://docs.confluent.io/cloud/current/security/authenticate/workload-identities/service-accounts/api-keys/overview.html"),
    _vendor("shopify", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}" + END, "https://shopify.dev/changelog/length-of-the-shopify-access-token-is-increasing"),
    _vendor("vault", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{24,300}", "https://developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes"),
    _vendor("terraform", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70}", "https://developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens", before=14),
    _vendor("pulumi", "pul-", r"pul-[a-f0-9]{40}" + END, "https://www.pulumi.com/docs/pulumi-cloud/access-management/access-tokens/"),
    _vendor("doppler", "dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44}" + END, "https://docs.doppler.com/reference/auth-token-formats"),
    _vendor("onepassword", "ops_eyJ", r"ops_eyJ[A-Za-z0-9+/=_-]{100,1000}", "https://developer.1password.com/docs/service-accounts/"),
    _vendor("age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", "https://github.com/C2SP/C2SP/blob/main/age.md"),
    _vendor("circleci", "CCIPAT_ CCIPRJ_", r"CCIP(?:AT|RJ)_[A-Za-z0-9]{16,26}_[a-z0-9]{40,56}", "https://circleci.com/docs/managing-api-tokens/"),
    _vendor("buildkite", "bkua_", r"bkua_[a-f0-9]{40}" + END, "https://buildkite.com/docs/apis/managing-api-tokens"),
    _vendor("sonarqube", "sqp_ sqa_ squ_", r"sq[pau]_[a-f0-9]{40}" + END, "https://docs.sonarsource.com/sonarqube-server/user-guide/managing-tokens"),
    _vendor("sourcegraph", "sgp_ slk_", r"(?:sgp_(?:[a-fA-F0-9]{16}_|local_)?[a-fA-F0-9]{40}|slk_[a-f0-9]{64})" + END, "https://sourcegraph.com/docs/cli/how-tos/creating_an_access_token"),
    _vendor("snyk", "snyk_", r"snyk_(?:uat|sat)\.[A-Za-z0-9_-]{8}\.[A-Za-z0-9_.-]{40,300}", "https://docs.snyk.io/snyk-api/authentication-for-api"),
    _vendor("sentry", "sntrys_ sntryu_", r"sntry(?:s_eyJ[A-Za-z0-9+/=_-]{60,400}|u_[a-f0-9]{64})", "https://docs.sentry.io/account/auth-tokens/"),
    _vendor("grafana", "glc_ glsa_", r"(?:glc_[A-Za-z0-9+/=]{32,400}|glsa_[A-Za-z0-9]{32}_[a-fA-F0-9]{8})", "https://grafana.com/docs/grafana/latest/administration/service-accounts/"),
    _vendor("newrelic", "NRAK- NRJS- NRII-", r"NR(?:AK-[A-Z0-9]{27}|JS-[a-f0-9]{19}|II-[A-Za-z0-9_-]{32})" + END, "https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/"),
    _vendor("posthog", "phx_ phs_", r"ph[xs]_[A-Za-z0-9_-]{43,47}" + END, "https://posthog.com/docs/api"),
    _vendor("dynatrace", "dt0c01. dt0s16.", r"dt0[cs]\d\d\.[A-Z2-7]{24}\.[A-Z2-7]{64}", "https://docs.dynatrace.com/docs/dynatrace-api/basics/dynatrace-api-authentication"),
    _vendor("launchdarkly", "api- sdk-", r"(?:api|sdk)-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}" + END, "https://launchdarkly.com/docs/home/account/api"),
    _vendor("prefect", "pnu_ pnb_", r"pn[ub]_[A-Za-z0-9]{36}" + END, "https://docs.prefect.io/v3/manage/cloud/manage-users/api-keys"),
    _vendor("postman", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}", "https://learning.postman.com/docs/developer/postman-api/authentication/"),
    _vendor("readme", "rdme_", r"rdme_[a-z0-9]{70}" + END, "https://docs.readme.com/main/reference/intro/authentication"),
    _vendor("notion", "secret_ ntn_", r"(?:secret_[A-Za-z0-9]{43}|ntn_[A-Za-z0-9]{40,50})" + END, "https://developers.notion.com/docs/authorization"),
    _vendor("linear", "lin_api_ lin_oauth_", r"lin_(?:api_[A-Za-z0-9]{40}|oauth_[a-f0-9]{64})" + END, "https://linear.app/developers/graphql"),
    _vendor("figma", "figd_", r"figd_[A-Za-z0-9_-]{38,44}", "https://www.figma.com/developers/api#access-tokens"),
    _vendor("airtable", "pat", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}" + END, "https://airtable.com/developers/web/guides/personal-access-tokens"),
    _vendor("asana", "1/ 2/", r"[12]/\d{12,17}(?:/\d{12,17})?:[a-f0-9]{32}" + END, "https://developers.asana.com/docs/personal-access-token"),
    _vendor("atlassian", "ATATT3 ATCTT3", r"AT[AC]TT3[A-Za-z0-9_=-]{100,260}", "https://support.atlassian.com/atlassian-account/docs/manage-api-tokens-for-your-atlassian-account/"),
    _vendor("typeform", "tfp_", r"tfp_[A-Za-z0-9_.=-]{40,64}", "https://www.typeform.com/developers/get-started/personal-access-token/"),
    _vendor("hubspot", "pat-na1- pat-eu1-", r"pat-(?:na|eu)1-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview"),
    _vendor("contentful", "CFPAT-", r"CFPAT-[A-Za-z0-9_-]{43}", "https://www.contentful.com/developers/docs/references/authentication/"),
    _vendor("frameio", "fio-u-", r"fio-u-[A-Za-z0-9_=-]{64}", "https://developer.frame.io/docs/getting-started/authentication"),
    _vendor("easypost", "EZAK EZTK", r"EZ[AT]K[A-Za-z0-9]{54}" + END, "https://docs.easypost.com/docs/authentication"),
    _vendor("shippo", "shippo_live_ shippo_test_", r"shippo_(?:live|test)_[a-fA-F0-9]{20,40}" + END, "https://docs.goshippo.com/docs/guides_general/authentication/"),
    _vendor("duffel", "duffel_", r"duffel_(?:live|test)_[A-Za-z0-9_-]{43}", "https://duffel.com/docs/api/overview/making-requests/authentication"),
    _vendor("elevenlabs", "sk_", r"sk_[a-f0-9]{48}" + END, "https://elevenlabs.io/docs/api-reference/authentication"),
    _vendor("pubnub", "pub-c- sub-c- sec-c-", r"(?:(?:pub|sub)-c-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|sec-c-[A-Za-z0-9]{48})" + END, "https://www.pubnub.com/docs/general/basics/initialization"),
    _vendor("nightfall", "NF-", r"NF-[A-Za-z0-9]{32}" + END, "https://help.nightfall.ai/developer-api/introduction/quickstart"),
    _vendor("recaptcha", "6L", r"6L[A-Za-z0-9_-]{6}AAAAA[A-Za-z0-9_-]{27}" + END, "https://developers.google.com/recaptcha/intro"),
    _vendor("ionic", "ion_", r"ion_[A-Za-z0-9]{42}" + END, "https://ionic.io/docs/appflow/personal-access-tokens"),
    _vendor("clickup", "pk_", r"pk_\d{6,9}_[A-Z0-9]{32}" + END, "https://developer.clickup.com/docs/authentication"),
    _vendor("maxmind", "_mmk", r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk" + END, "https://support.maxmind.com/hc/en-us/articles/4407111582235-Generate-a-License-Key", before=36),
    _vendor("mapbox", "sk.eyJ", r"sk\.eyJ[A-Za-z0-9_-]{40,200}\.[A-Za-z0-9_-]{20,24}", "https://docs.mapbox.com/help/dive-deeper/access-tokens/"),
    _vendor("facebook", "EAAC EAAB EAAG EAAJ", r"EAA[A-Z][A-Za-z0-9]{80,300}" + END, "https://developers.facebook.com/docs/facebook-login/guides/access-tokens/"),
    _vendor("alibaba", "LTAI", r"LTAI[A-Za-z0-9]{12,20}(?![A-Za-z0-9_])", "https://www.alibabacloud.com/help/en/ram/user-guide/create-an-accesskey-pair"),
    _vendor("tencent", "AKID", r"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9_])", "https://www.tencentcloud.com/document/product/598/32675"),
    _vendor("telegram", ":AA", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{33}" + END, "https://core.telegram.org/bots/api#authorizing-your-bot", before=10),
    _vendor("azure_storage", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{86}==)", "https://learn.microsoft.com/en-us/azure/storage/common/storage-account-keys-manage"),
    _vendor("azure_connection", "SharedAccessKey=", r"SharedAccessKey=([A-Za-z0-9+/]{42,44}=)", "https://learn.microsoft.com/en-us/azure/service-bus-messaging/service-bus-sas"),
    _vendor("azure_sas", "sig=", r"[?&]sig=([A-Za-z0-9%+/]{40,80}(?:=|%3[dD])?)", "https://learn.microsoft.com/en-us/rest/api/storageservices/create-service-sas", before=1),
    _vendor("azure_entra", "8Q~ 7Q~", r"[A-Za-z0-9_.~-]{3}[78]Q~[A-Za-z0-9_.~-]{31,34}", "https://learn.microsoft.com/en-us/purview/sit-defn-azure-ad-client-secret", before=3),
    _vendor("azure_devops", "AZDO", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}" + END, "https://learn.microsoft.com/en-us/azure/devops/organizations/accounts/use-personal-access-tokens-to-authenticate", before=76),
    _vendor("jwt", "eyJ", r"(?<!-)eyJ[A-Za-z0-9_-]{10,4096}\.eyJ[A-Za-z0-9_-]{10,8192}\.[A-Za-z0-9_-]{8,1024}", "https://www.rfc-editor.org/rfc/rfc7519"),
    _vendor("llmproxy", "llmp-", r"llmp-[A-Za-z0-9]{49}(?![A-Za-z0-9])", "https://datatracker.ietf.org/doc/html/rfc8959"),
)  # fmt: skip
