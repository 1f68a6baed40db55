"""The shipped frequency table: how likely common English words are in a document of a page or less.

Rounded estimates for general prose, in four bands. They decide alone for a single pair; in a file they fade
as its own counts grow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from llmmon.scorers.words import TERM_COUNT, term_id

# A word that is in no band: one document in 500.
_RARE: Final = 0.002

_BANDS: Final[dict[float, str]] = {
    0.15: """
        also answer ask way thing time people person good new know see take find help need work number part
        important include example many first different want think question give place keep two come look day
        well without however often well even start create problem provide change information""",
    0.08: """
        able add allow another around available back based become begin believe best better big bring call case
        certain clear common complete consider could course current end ensure every everyone everything experience
        fact feel few follow form general getting great group hand hard high home hope idea issue keep kind large
        last learn least leave let level life like line list little live long lot main making matter mean might
        move must name never next offer old open order others particular point possible possibly process read
        real really reason result right run say second set several show simple simply since situation small
        someone something sometimes special specific step still support sure system tell three today together
        try turn type understand used various want week whether whole within word world year yet step key""",
    0.035: """
        accept access according account achieve across act action active activity actual actually additional
        address adult affect age agree allow almost alone already although always among amount appear apply
        approach appropriate area article aspect attempt attention avoid aware away bad base basic basis behavior
        behind benefit beyond body book both break build building business buy care carefully carry cause center
        century challenge chance character check child choice choose city claim class close collect color
        combination comfortable comment communicate community company compare concern condition connect consist
        contact contain content context continue control correct cost country cover critical culture customer
        daily data date deal decide decision deep define degree depend describe description design detail
        determine develop development difference difficult direct direction directly discuss document draw drive
        during early easily easy education effect effective effort either element else encourage enjoy enough
        enter entire environment especially establish event eventually everyday exactly expect explain explore
        express eye face factor fall familiar family famous far fast feature feeling field final finally fine
        five focus food force foreign four free friend front full function future gain game given goal going
        group grow growth guide half happen happy head health hear heart helpful history hold hour house human
        huge image imagine impact improve increase indeed indicate individual industry influence inside
        instance instead interest interesting involve item job join journey just kept large later law lead
        left less letter limit link local location look lose love low maintain major manage manner mark market
        material maybe meaning measure media medium meet member memory mention message method middle mind minute
        model modern moment money month moreover morning mother natural nature near nearly necessary note nothing
        notice object obtain occur office once online operate opportunity option organization original otherwise
        outside overall own page paper parent past path pattern pay perfect perform perhaps period personal phone
        physical pick picture piece plan play popular position positive potential power practice prepare present
        pretty prevent previous price private probably produce product program project proper properly protect
        public purpose put quality quick quickly quite range rate rather reach ready receive recent recognize
        recommend reduce refer relate related relationship relevant remain remember remove replace report
        represent request require research resource respect respond response responsible rest review role room
        rule safe safety save school science seek seem sense separate serious serve service share short side sign
        significant similar single site size skill social society software solution solve sort sound source space
        speak spend stage stand standard state stay stop story strategy strong structure student study style
        subject success such suggest table talk task team technique technology term test text thank therefore
        thought throughout thus title tool top topic total touch toward track traditional train travel true
        truth unique unless usual usually value variety version video view visit voice wait walk war watch water
        wear website white wide wish woman man wonder word write writing wrong young""",
    0.012: """
        ability abroad absolute abstract academic accident accurate adapt adjust admit adopt advance advantage
        advice afraid afternoon agency agent ahead aim air alternative amazing analysis analyze ancient anger
        animal announce annual anybody apart apartment apparent application argue argument arm army arrange arrive
        art artist assess assist assume atmosphere attack attend attitude attract audience author authority
        automatic average award baby background balance ball band bank bar beach bear beat beautiful bed beginner
        behave belief belong bill bird birth black blood blue board boat book border born boss bottom box boy brain
        brand bread breakfast breath brief bright broad brother brown budget bus button calculate calm camera
        campaign cancel candidate capital car card career cash cat category celebrate central chair chapter charge
        cheap chemical chief church citizen civil classic clean click client climate clinical clock clothes cloud
        club code coffee cold college column combine command commercial commit commitment committee comparison
        compete competition complex component computer concept concert conclude conclusion conduct conference
        confident confirm conflict consequence conservative constant construct consume consumer contract contrast
        contribute conversation convert convince cook cool copy core corner correspond council count couple court
        crash create creative credit crime crisis crop cross crowd cry curious cut cycle damage dance danger
        dangerous dark database daughter dead death debate debt decade declare decline default defense delay deliver
        demand democracy demonstrate deny department deposit depth desire desk destroy device diet dinner disaster
        discover disease dish distance distinct district divide doctor dog dollar domain door double doubt dozen
        dream dress drink drop drug dry due duty ear earn earth east economic economy edge edit editor efficient
        egg election electric electronic email emergency emotion emotional employ employee enable encounter enemy
        energy engage engine engineer enormous enterprise entertainment equal equipment error escape essay essential
        estimate evaluate evening evidence evil exact exam examine excellent exception exchange excite exercise
        exist existing expand expense expensive expert export expose extend extra extreme fail failure fair fair
        faith false fan farm fashion father fault favor favorite fear federal fellow female fight figure file fill
        film financial finger finish fire firm fish fit fix flat flight floor flow flower fly folder folk foot
        forest forget formal former formula forward foundation frame freedom frequent fresh fruit fuel fun fund
        fundamental funny garden gas gather gender gene generation gentle gift girl glass global gold government
        grade gradual grand grass green ground guarantee guard guess guest guideline gun habit hair hall handle
        hang harm hat hate heat heavy height hero highlight hill hire historical hit hole holiday honest horse
        hospital hot hotel household husband ice ideal identify identity ignore illegal illness illustrate
        immediate impossible impress improvement income independent index initial injury inner input inspire install
        institution instruction instrument insurance integrate intelligence intend intense interact internal
        international internet interpret interview introduce introduction invest investigate investment invite
        island joint joke judge justice kid kill king kitchen knowledge label labor lack lady lake land language
        laugh launch lay layer leader leadership leaf league legal lesson liberal library license lie light
        literature load loan logic logical loss loud lucky lunch machine magazine mail male manager manufacture map
        marriage mass master match math mathematics maximum meal meat mechanism medical medicine meeting mental
        menu metal middle mile military milk million minimum minor miss mission mistake mix mobile mode moral mount
        mountain mouth movement movie multiple muscle museum music musical narrative narrow nation national native
        negative negotiate neighborhood network news night noise normal north nose novel nuclear nurse obvious ocean
        odd officer official oil opinion oppose opposite output overcome owner pack pain paint pair panel paragraph
        park partner party pass passage passenger passion password patient payment peace per perceive percent
        performance permanent permission permit perspective pet phase philosophy photo phrase plane plant plastic
        plate platform player please pleasure plus pocket poem poetry poet police policy political politics poor
        population port portion post pound practical prayer prefer preference presence presentation president
        press pressure prevent primary principle print priority prison professional professor profile profit
        progress promise promote proof property propose protection proud prove psychology publish pull pupil
        purchase pure push quarter queen quiet race radio rain raise random rare raw react reaction reader
        reality receive recipe record recover red reflect reform region register regular regulation reject release
        reliable religion religious rely remote rent repair repeat reply reputation reserve resident resolve respective
        restaurant restrict retain retire return reveal reward rich ride ring rise risk river road rock roll
        romantic roof root rough round route routine row royal sad salary sale salt sample sand satisfy scale scan
        scene schedule scheme scientific scientist score screen script sea search season seat secret section sector
        secure security seed select self sell send senior sensitive sentence series session settle sex shape sharp
        sheet shift ship shirt shoe shoot shop shoulder shout shut sick sight signal silence silver sing sister sit
        skin sky sleep slide slow smart smell smile smoke smooth snow soft soil soldier somewhat son song soon soul
        south spare speech speed spell spirit split sport spot spread spring square staff stable star statement
        station statistic status steal stick stone store storm straight strange stranger stream street strength
        stress stretch strict strike string struggle stuff stupid sudden suffer sugar suit suitable sum summary
        summer sun supply surface surprise surround survey survive suspect sustain sweet switch symbol symptom
        target taste tax tea teach teacher tear telephone television temperature tend territory theme theory thick
        thin threat threaten ticket tie tight tiny tip tired tomorrow tone tongue tonight tooth tough tour town toy
        trade tradition traffic transfer transform transition translate transport treat treatment tree trend trial
        trick trip trouble truck trust tune twice typical ultimate uncle uniform union unit united universe
        university unknown update upgrade upper urban urge user vacation valley valuable vary vast vegetable vehicle
        victim victory village violence virtual visible vision visual vital volume vote wage wall warm warn wash
        waste wave weak wealth weapon weather web wedding weekend weigh weight welcome west wheel wife wild wind
        window wine winner winter wise witness wonderful wood worker workshop worry worth yard yellow yesterday""",
}


@lru_cache(maxsize=1)
def prior_probabilities() -> npt.NDArray[np.float64]:
    """The share of documents that hold each term; one value per term number, 1 for function words."""
    table = np.full(TERM_COUNT, _RARE)
    for probability in sorted(_BANDS):
        for word in _BANDS[probability].encode().split():
            table[term_id(word)] = probability
    table[0] = 1.0
    table.setflags(write=False)
    return table
